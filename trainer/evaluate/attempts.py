"""The attempts of a history that a policy is judged by: what was asked, what was done, with which probability.

This module must not know what an attempt earned, nor how a policy chooses.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Literal

import numpy as np
import polars as pl

from trainer.errors import EvaluateError
from trainer.evaluate.direct import folds
from trainer.evaluate.log import Flags, Floats, Places
from trainer.evaluate.propensities import LOUD, estimated
from trainer.fit.dataset import started

Which = Literal["first", "all"]

SEGMENT: Final = ("merchant_id", "card_network", "issuer_country")
"""What the cells of estimated propensities are made of, coarse to fine."""

CONTEXT: Final = (
    "merchant_id",
    "merchant_segment",
    "merchant_country",
    "amount_minor",
    "currency",
    "card_network",
    "card_funding",
    "issuer_country",
    "is_network_token",
    "uses_3ds",
    "initiator",
    "channel",
    "attempt",
    "fraud_score",
    "device_trust_score",
)
"""What a model of the rewards sees of an attempt, beside the hour."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """n attempts over k processors.

    Attributes
    ----------
    frame
        One row per attempt: the columns of the history, `row` (0 to n - 1), `at` (microseconds) and `label` (approved).
    processors
        Names, in order.
    taken, offered, propensity, payment
        As in ``trainer.evaluate.log.Log``; a merchant's candidates are the processors that it is seen to use.
    fold
        Of each attempt, for whatever must not judge what it learnt from.
    is_estimated
        Whether the propensities were estimated.
    notes
        What a reader must know.
    """

    frame: pl.DataFrame
    processors: tuple[str, ...]
    taken: Places
    offered: Flags
    propensity: Floats
    payment: Places
    fold: Places
    is_estimated: bool
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.frame)

    def only(self, frame: pl.DataFrame) -> "Attempts":
        """Return the attempts that are in `frame`, rows of this one's with columns of their own beside, in this order."""
        rows = frame["row"].to_numpy()
        return replace(
            self,
            frame=frame.drop("row").with_row_index("row"),
            taken=self.taken[rows],
            offered=self.offered[rows],
            propensity=self.propensity[rows],
            payment=self.payment[rows],
            fold=self.fold[rows],
        )

    @property
    def approved(self) -> Flags:
        """Whether each attempt was approved, shape (n,)."""
        labels: Flags = self.frame["label"].to_numpy().astype(np.bool_)
        return labels

    @property
    def context(self) -> pl.DataFrame:
        """What a model of the rewards may look at."""
        hour = pl.col("occurred_at").dt.hour().alias("hour")
        present = [name for name in CONTEXT if self.frame[name].null_count() < len(self.frame)]
        return self.frame.select(*present, hour)


def attempts(
    history: pl.LazyFrame,
    since: datetime,
    until: datetime,
    *,
    which: Which = "first",
    most: int = 50_000,
    estimate: bool = False,
    seed: int = 0,
) -> Attempts:
    """Return the attempts of the payments that began in a stretch of time.

    Parameters
    ----------
    history
        The canonical history.
    since, until
        The stretch; `until` is not in it.
    which
        The first attempt of each payment, or all: then each is a question of its own.
    most
        Attempts at the most, drawn by whole payments.
    estimate
        Estimate propensities even where they were logged.
    seed
        Draws what is drawn.

    Raises
    ------
    EvaluateError
        When there are none with a processor.
    """
    sent = started(history.filter(pl.col("processor").is_not_null()))
    if which == "first":
        sent = sent.filter(pl.col("attempt") == 1)
    asked = (
        sent.filter(pl.col("started_at") >= since, pl.col("started_at") < until)
        .with_columns(at=pl.col("occurred_at").dt.timestamp("us"), label=pl.col("status") == "approved")
        .collect(engine="streaming")
        .sort("at", "payment_id", "attempt")
    )
    if asked.is_empty():
        msg = (
            f"expected attempts with a processor from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}, there are none"
        )
        raise EvaluateError(msg)
    asked, is_logged, notes = _with_propensities(asked, estimate)
    if len(asked) > most:
        notes.append(f"a sample of {most:,} of {len(asked):,} attempts, by whole payments")
        asked = _some(asked, most, seed)
    asked = asked.with_row_index("row")
    pairs = history.filter(pl.col("processor").is_not_null(), pl.col("occurred_at") < until).select(
        "merchant_id", "processor"
    )
    return _made(asked, pairs.unique().collect(), is_logged, tuple(notes), seed)


def _with_propensities(asked: pl.DataFrame, estimate: bool) -> tuple[pl.DataFrame, bool, list[str]]:
    """Return the attempts to judge by, whether their propensities are logged ones, and what to say of that."""
    known = len(asked) - asked["propensity"].null_count()
    if known == 0:
        return asked, False, [LOUD]
    if estimate:
        return asked, False, [f"{LOUD}: so it was asked, though {known:,} of {len(asked):,} were logged"]
    if known == len(asked):
        return asked, True, []
    left = len(asked) - known
    return asked.drop_nulls("propensity"), True, [f"{left:,} attempts without a logged propensity are left out"]


def _some(asked: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """Return whole payments, about `most` attempts of them."""
    payments = asked["payment_id"].unique(maintain_order=True)
    kept = payments.sample(max(1, len(payments) * most // len(asked)), seed=seed)
    return asked.filter(pl.col("payment_id").is_in(kept.implode()))


def _made(asked: pl.DataFrame, pairs: pl.DataFrame, is_logged: bool, notes: tuple[str, ...], seed: int) -> Attempts:
    names = tuple(sorted(pairs["processor"].unique().to_list()))
    place = {name: number for number, name in enumerate(names)}
    merchants = {name: number for number, name in enumerate(pairs["merchant_id"].unique(maintain_order=True))}
    used = np.zeros((len(merchants), len(names)), dtype=np.bool_)
    for merchant, processor in pairs.iter_rows():
        used[merchants[merchant], place[processor]] = True
    merchant = asked["merchant_id"].replace_strict(merchants, return_dtype=pl.Int64).to_numpy()
    taken = asked["processor"].replace_strict(place, return_dtype=pl.Int64).to_numpy()
    payment = asked["payment_id"].rank("dense").to_numpy().astype(np.int64)
    fold, offered = folds(payment, seed), used[merchant]
    if is_logged:
        propensity = asked["propensity"].to_numpy().astype(np.float64)
    else:
        levels = [
            asked.select(pl.struct(SEGMENT[: depth + 1]).rank("dense")).to_series().to_numpy().astype(np.int64)
            for depth in range(len(SEGMENT))
        ]
        propensity = estimated(levels, taken, offered, fold)[np.arange(len(taken)), taken]
    return Attempts(asked, names, taken, offered, propensity, payment, fold, not is_logged, notes)
