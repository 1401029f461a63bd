"""Payments and attempt numbers: what can be told only by looking at many rows at once.

This module must not know any source; it sees the staged canonical rows, each with its number (`ID`) in reading order.
"""

from typing import Final

import polars as pl

from trainer.ingest.canonical import FAULT, GROUP
from trainer.ingest.contract import RULES
from trainer.ingest.mapping import Mapping, Propensity

ID: Final = "#id"
DUPLICATE: Final = "duplicate_attempt"
TOO_MANY: Final = "out_of_range:attempt"
NO_SHARE: Final = "unmapped:propensity"


def number_attempts(staged: pl.LazyFrame, mapping: Mapping) -> pl.LazyFrame:
    """Return `staged` with `payment_id` and `attempt` in every row that can have them, and three more faults.

    Payments and numbers count every row whose time and group can be read, also those that another fault will send to
    quarantine: a second attempt stays a second attempt. Of rows without a fault that claim the same attempt of the same
    payment the first read is kept, the others get the fault `duplicate_attempt`.
    """
    payment = mapping.payment
    known = [name for name in staged.collect_schema().names() if name.startswith(FAULT)]
    if payment.group_by:
        staged = staged.drop("payment_id", "attempt").join(_derived(staged, mapping), on=ID, how="left")
    elif payment.attempt is None:
        staged = staged.drop("attempt").join(_counted(staged), on=ID, how="left")
    most = RULES["attempt"].most or 0
    too_many = pl.col("attempt") > most
    if payment.attempt is None:
        known.append(FAULT + TOO_MANY)
        staged = staged.with_columns(too_many.fill_null(value=False).alias(FAULT + TOO_MANY))
    if mapping.propensity:
        known.append(FAULT + NO_SHARE)
        staged = _with_propensity(staged, mapping.propensity)
    return staged.join(_duplicates(staged, known), on=ID, how="left").with_columns(
        pl.col(FAULT + DUPLICATE).fill_null(value=False)
    )


def _derived(staged: pl.LazyFrame, mapping: Mapping) -> pl.LazyFrame:
    """Return `ID`, `payment_id` and `attempt`: rows of one group belong together until the payment ends."""
    groups = [f"{GROUP}{index}" for index in range(len(mapping.payment.group_by))]
    rows = (
        staged.select(ID, "occurred_at", "status", *groups)
        .filter(pl.all_horizontal(pl.col("occurred_at", *groups).is_not_null()))
        .sort(*groups, "occurred_at", ID)
    )
    other_group = pl.any_horizontal(pl.col(group) != pl.col(group).shift(1) for group in groups)
    too_late = pl.col("occurred_at") - pl.col("occurred_at").shift(1) > pl.lit(mapping.payment.gap)
    first = (other_group | too_late).fill_null(value=True)
    if mapping.payment.approval_ends:
        first |= (pl.col("status").shift(1) == "approved").fill_null(value=False)
    rows = rows.with_columns(block=first.cum_sum())
    rows = rows.with_columns(attempt=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("block"))
    # Payments are numbered in the order in which they began.
    begun = rows.filter(pl.col("attempt") == 1).sort("occurred_at", ID).with_row_index("begun", offset=1)
    named = begun.select(
        "block", payment_id=pl.lit(mapping.payment.prefix or "p") + pl.col("begun").cast(pl.String).str.zfill(9)
    )
    return rows.join(named, on="block").select(ID, "payment_id", "attempt")


def _counted(staged: pl.LazyFrame) -> pl.LazyFrame:
    """Return `ID` and `attempt`: the attempts of each payment numbered by time."""
    return (
        staged.select(ID, "occurred_at", "payment_id")
        .filter(pl.col("occurred_at").is_not_null() & pl.col("payment_id").is_not_null())
        .sort("occurred_at", ID)
        .select(ID, attempt=pl.int_range(1, pl.len() + 1, dtype=pl.Int64).over("payment_id"))
    )


def _with_propensity(staged: pl.LazyFrame, shares: Propensity) -> pl.LazyFrame:
    processor = pl.col("processor")
    first = processor.replace_strict(shares.first, default=None, return_dtype=pl.Float64)
    later = processor.replace_strict(shares.later or shares.first, default=None, return_dtype=pl.Float64)
    share = pl.when(pl.col("attempt") > 1).then(later).otherwise(first)
    missing = processor.is_not_null() & share.is_null()
    return staged.with_columns(share.alias("propensity"), missing.alias(FAULT + NO_SHARE))


def _duplicates(staged: pl.LazyFrame, known: list[str]) -> pl.LazyFrame:
    claim = pl.struct("payment_id", "attempt")
    return (
        staged.filter(~pl.any_horizontal(known))
        .select(ID, "payment_id", "attempt")
        .sort(ID)
        .select(ID, (~claim.is_first_distinct()).alias(FAULT + DUPLICATE))
    )
