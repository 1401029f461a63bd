"""The running state of every entity of one kind: one row per event, in order, with all that was counted until then.

Entities follow each other in one order (`PLACE`: key, then time), and the sums run on from one to the next: what an as-of
join finds just before a window's start is what to subtract, whether it is an earlier event of the same entity or the
last one of the entity before. So nothing here is computed group by group, except the decayed sums.

The twin of what ``features.state`` keeps in a blob. This module must not know a query.
"""

from collections.abc import Collection
from typing import Final

import polars as pl

from features.layout import Layout
from features.offline.increments import AT, RESULT

PLACE: Final = "_place"
CODE: Final = "_code_of_key"

EVENTS: Final = "events"
"""The running number of events of any kind."""

BLOCK: Final = 256
"""Half-lives over which decayed sums grow before they start anew: 2^256 is far inside what a float64 holds."""

_TIME_BITS: Final = 56
_RESULTS: Final = 8


def place(code: pl.Expr, at: pl.Expr, result: pl.Expr | None = None) -> pl.Expr:
    """Return the place of an event among all: by its entity's code, by time, and by the code of a result.

    The place of a moment is before every event of that moment. Codes of entities and times are whole numbers, times below 2^56
    microseconds (the year 4253), codes of results below 2^3; the sum takes 128 bits.
    """
    moment = (code.cast(pl.Int128) * (1 << _TIME_BITS) + at.cast(pl.Int128)) * _RESULTS
    return moment if result is None else moment + result.cast(pl.Int128)


def moments(events: pl.LazyFrame, layout: Layout, wanted: Collection[str]) -> pl.LazyFrame:
    """Return the running columns `wanted` and `PLACE`, one row per event, sorted by place.

    Parameters
    ----------
    events
        From ``features.offline.increments``, with `CODE` for a key and the flags of ``features.offline.distinct``.
    layout
        Of the kind.
    wanted
        `EVENTS`, measures, ``first:<width>`` flags, and names of `LATEST`.
    """
    rows = events.with_columns(place(pl.col(CODE), pl.col(AT), pl.col(RESULT)).alias(PLACE))
    # Of several at one moment the greatest code and the largest amount are the last, whatever the order of the rows.
    rows = rows.sort(PLACE, "amount_minor") if "last_amount" in wanted else rows.sort(PLACE)
    decayed = [name for name in wanted if name.startswith("decayed:")]
    columns = [_running(name) for name in sorted(set(wanted) - set(decayed))]
    if decayed:
        rows = _with_decayed(rows, layout.half_life, [name.removeprefix("decayed:") for name in decayed])
        columns += [pl.col(name) for name in decayed]
    return rows.select(PLACE, *columns)


def _last(when: str, what: pl.Expr) -> pl.Expr:
    return pl.when(pl.col(when) > 0).then(what).forward_fill()


LATEST: Final[dict[str, pl.Expr]] = {
    "last_attempt": _last("attempts", pl.col(AT)),
    "last_amount": _last("attempts", pl.col("amount_minor")),
    "last_result": _last("results", pl.col(AT)),
    "last_approved": _last("approved", pl.col(AT)),
    "last_code": _last("results", pl.col(RESULT)),
    # Declines until the last approval, those of its own moment too: they come before it in the order of codes.
    "cleared": _last("approved", pl.col("declined").cast(pl.UInt32).cum_sum()),
    "decayed:approved": pl.col("approved"),
    "decayed:technical": pl.col("technical"),
}
"""What is carried forward from an event to the next, and over entities too: whoever reads it asks first whether the
entity's longest window holds such an event at all."""


def _running(name: str) -> pl.Expr:
    if name in LATEST:
        return LATEST[name].alias(name)
    if name == EVENTS:
        return pl.int_range(1, pl.len() + 1, dtype=pl.UInt32).alias(name)
    running = pl.Int64 if name == "amount_minor" else pl.UInt32
    return pl.col(name).cast(running).fill_null(0).cum_sum().alias(name)


def _with_decayed(rows: pl.LazyFrame, half_life: int, parts: Collection[str]) -> pl.LazyFrame:
    """Return sorted rows with ``decayed:<part>``: the decayed sum of a part over that of the results, at the last result.

    A result weighs 2^((t - start of its block) / H), so that sums only grow within a block; the block before is carried
    over by 2^-256 and those before it weigh nothing. A quotient does not depend on the moment it is taken as of. The
    error against a sum decayed event by event is some units in the last place of a float64 per result.
    """
    block = BLOCK * half_life
    weight = 2.0 ** ((pl.col(AT) % block).cast(pl.Float64) / float(half_life))
    segment = pl.col(CODE).cast(pl.Int64) * (1 << 32) + pl.col(AT) // block
    names = {part: f"_sum_{part}" for part in ("results", *parts)}
    is_new = pl.col("_segment") != pl.col("_segment").shift(1)
    follows = pl.col("_segment") == pl.col("_segment").shift(1) + 1
    rows = rows.with_columns(segment.alias("_segment"), weight.alias("_weight"))
    rows = rows.with_columns(
        (pl.col(part).cast(pl.Float64) * pl.col("_weight")).cum_sum().over("_segment").alias(name)
        for part, name in names.items()
    )
    carried = {
        part: pl.when(is_new)
        .then(pl.when(follows).then(pl.col(name).shift(1) * 2.0**-BLOCK).otherwise(0.0))
        .forward_fill()
        .fill_null(0.0)
        for part, name in names.items()
    }
    return rows.with_columns((pl.col(name) + carried[part]).alias(name) for part, name in names.items()).with_columns(
        pl.when(pl.col("results") > 0)
        .then(pl.col(names[part]) / pl.col(names["results"]))
        .forward_fill()
        .alias(f"decayed:{part}")
        for part in parts
    )
