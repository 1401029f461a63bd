"""The features of logged questions, computed from the history by the offline plan.

Most questions share one history. One that did not see its own attempt, or that is looked at once more without what reached
the store late, gets a *world of its own*: copies of its entities' events under keys that no other question has.

This module must not know what was logged.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from features.assemble import WIDTH
from features.catalog import CANDIDATE, PAYMENT
from features.encoding import Encodings
from features.entity import CANDIDATE_KINDS, FIELDS, KINDS
from features.layout import LAYOUTS
from features.offline.increments import key
from features.offline.plan import request_features
from features.offline.windows import entity_features
from features.spec import FeatureSpec
from trainer.consistency.frames import NUMBER

SPECS: Final = (*PAYMENT, *CANDIDATE)
COLUMN: Final = {spec.name: column for column, spec in enumerate(SPECS)}

COPIES_AT_ONCE: Final = 2_000_000
MOST_COPIES: Final = 40_000_000
"""Rows that the worlds of one kind of entity may take in all; questions beyond that are left out."""

HALF_LIVES: Final = 160
"""How far before the longest window a result still shows in a decayed rate: 2^-149 is the least that a float32 holds."""

_KEY: Final = "_key"
_TIMES: Final = ("occurred_at", "settled_at", "chargeback_at")

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


class Table:
    """Values by question's row and feature, as far as they are known.

    Attributes
    ----------
    values, known
        Shape (rows, WIDTH); a value counts where `known` is true.
    """

    def __init__(self, rows: int) -> None:
        self.values: Floats = np.zeros((rows, WIDTH), dtype=np.float32)
        self.known: Flags = np.zeros((rows, WIDTH), dtype=np.bool_)

    def take(self, found: pl.DataFrame, specs: Sequence[FeatureSpec]) -> None:
        """Fill in some features of some rows (columns `row` and ``f:<name>``)."""
        rows = found["row"].to_numpy().astype(np.intp)
        for spec in specs:
            self.values[rows, COLUMN[spec.name]] = found[f"f:{spec.name}"].to_numpy()
            self.known[rows, COLUMN[spec.name]] = True


def asked_of(questions: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Return the rows in which a kind of entity is asked about: the first candidate's alone for what all share."""
    return questions if kind in CANDIDATE_KINDS else questions.filter(pl.col("candidate") == 0)


def specs_of(kind: str) -> list[FeatureSpec]:
    """Return the logged features of a kind of entity, in catalog order."""
    return [spec for spec in SPECS if spec.entity == kind]


def of_entities(questions: pl.DataFrame, history: pl.DataFrame, table: Table) -> None:
    """Fill in every window feature.

    Parameters
    ----------
    questions, history
        From ``trainer.consistency.frames``.
    table
        A row per question's row.
    """
    own_at = history.select(own=pl.col(NUMBER), own_at=pl.col("occurred_at").dt.timestamp("us")).drop_nulls()
    marked = questions.join(own_at, on="own", how="left", maintain_order="left")
    # What is not earlier than the question is not seen anyway.
    has_own = pl.col("own_at").is_not_null() & (pl.col("own_at") < pl.col("at"))
    for kind in KINDS:
        specs = specs_of(kind)
        rows = asked_of(marked, kind)
        apart = has_own if "attempts" in LAYOUTS[kind].measures else pl.lit(value=False)
        shared = rows.filter(~apart)
        if len(shared):
            plan = entity_features(shared.lazy(), history.lazy(), kind, specs)
            table.take(plan.collect(engine="streaming"), specs)
        for found in worlds(rows.filter(apart), history, kind, pl.lit(value=True)):
            table.take(found, specs)


def worlds(questions: pl.DataFrame, history: pl.DataFrame, kind: str, seen: pl.Expr) -> Iterator[pl.DataFrame]:
    """Yield the window features of one kind for questions that each have a history of their own.

    Parameters
    ----------
    questions, history
        From ``trainer.consistency.frames``.
    kind
        Of entity.
    seen
        Which events a question sees, over the columns of both. Its own attempt it never does.
    """
    if questions.is_empty():
        return
    layout = LAYOUTS[kind]
    start = pl.col("at") - layout.horizon - layout.rings[-1].hop - HALF_LIVES * layout.half_life
    named = questions.with_columns(key(kind).alias(_KEY), start.alias("_start"))
    times = [pl.col(name).dt.timestamp("us") for name in _TIMES]
    events = history.with_columns(
        key(kind).alias(_KEY),
        pl.min_horizontal(times).alias("_first"),
        pl.max_horizontal(times).alias("_last"),
    ).filter(pl.col(_KEY).is_not_null())
    sizes = events.group_by(_KEY).agg(pl.len().alias("_copies"))
    sized = named.join(sizes, on=_KEY, how="left", maintain_order="left")
    until = sized["_copies"].fill_null(0).cum_sum()
    sized = sized.with_columns(_chunk=until // COPIES_AT_ONCE).filter(until <= MOST_COPIES)
    for _, chunk in sized.group_by("_chunk", maintain_order=True):
        yield _in_worlds(chunk, events, kind, seen)


def _in_worlds(chunk: pl.DataFrame, events: pl.DataFrame, kind: str, seen: pl.Expr) -> pl.DataFrame:
    world = pl.col("row").cast(pl.String) + pl.lit("\0")
    first = FIELDS[kind][0]
    copies = (
        chunk.lazy()
        .select("row", "own", "at", "read", _KEY, "_start")
        .join(events.lazy(), on=_KEY)
        .filter(pl.col("_last") >= pl.col("_start"), pl.col("_first") < pl.col("at"))
        .filter(pl.col(NUMBER).ne_missing(pl.col("own")) | pl.col(NUMBER).is_null(), seen)
        .with_columns((world + pl.col(first)).alias(first))
    )
    asked = chunk.lazy().with_columns((world + pl.col(first)).alias(first))
    # Copied once, for the plan looks through them more than once.
    return entity_features(asked, copies.collect().lazy(), kind, specs_of(kind)).collect(engine="streaming")


def of_payments(questions: pl.DataFrame, versions: Sequence[str], known: Mapping[str, Encodings], table: Table) -> None:
    """Fill in the features of the payments' own fields; categories as the bundle of each decision has learnt them.

    Parameters
    ----------
    questions
        From ``trainer.consistency.frames``.
    versions
        The bundle of each question.
    known
        Encodings by bundle; the priors of any other bundle stay unknown.
    table
        A row per question's row.
    """
    bundle = pl.Series("_bundle", [versions[place] for place in questions["asked"]], dtype=pl.String)
    rows = questions.with_columns(bundle)
    for scope, some in (("payment", rows.filter(pl.col("candidate") == 0)), ("candidate", rows)):
        specs = [spec for spec in SPECS if spec.entity is None and spec.scope == scope]
        plain = [spec for spec in specs if spec.target is None]
        priors = [spec for spec in specs if spec.target is not None]
        if plain:
            table.take(request_features(some.lazy(), {}, plain).collect(), plain)
        for version, encodings in known.items():
            of_bundle = some.filter(pl.col("_bundle") == version)
            if priors and len(of_bundle):
                table.take(request_features(of_bundle.lazy(), encodings, priors).collect(), priors)
