"""The parts in which a backfill is done: kinds of entity, the larger ones by a share of their keys.

What a part needs of memory follows from its keys and tiles, not from the length of the history. This module must not know
what is computed of a part.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import polars as pl

from features.entity import KINDS
from features.layout import LAYOUTS
from features.offline.increments import key

LARGEST: Final = 3_000_000
"""Tiles of entities that one part holds, more or less: some 100 bytes each while it is computed."""

EVENTS_OF_AN_ATTEMPT: Final = 2
"""An attempt and its result; chargebacks are few."""


class Part(NamedTuple):
    """One of `of` shares of the keys of one kind, the one numbered `number` from 0."""

    kind: str
    number: int
    of: int

    def holds(self) -> pl.Expr:
        """Tell whether the key of a history's row is in this part."""
        named = key(self.kind)
        if self.of == 1:
            return named.is_not_null()
        # Stable within one version of Polars; whoever goes on with a backfill has to hold on to that.
        return named.is_not_null() & (named.hash(seed=17) % self.of == self.number)


def parts(history: pl.LazyFrame, kinds: Sequence[str] = KINDS, largest: int = LARGEST) -> list[Part]:
    """Return the parts of a history's backfill, in the order in which they are done.

    Parameters
    ----------
    history
        The canonical history (``contracts.history``).
    kinds
        Which kinds of entity.
    largest
        Tiles that a part should hold at most; one entity is never split.
    """
    times = pl.col("occurred_at").dt.timestamp("us")
    sizes = history.select(
        pl.len().alias("rows"),
        (times.max() - times.min()).fill_null(0).alias("span"),
        *(key(kind).approx_n_unique().alias(kind) for kind in kinds),
    )
    found = sizes.collect(engine="streaming").row(0, named=True)
    made = []
    for kind in kinds:
        tiles = min(EVENTS_OF_AN_ATTEMPT * found["rows"], found[kind] * (found["span"] // LAYOUTS[kind].hop + 2))
        of = max(1, -(-tiles // largest))
        made += [Part(kind, number, of) for number in range(of)]
    return made
