"""Each operation of the catalog as a Polars expression: the offline twin of ``features.source``.

Arithmetic is in float64 in the same order as online and is rounded to float32 once, at the end.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from features.clock import DAY, HOUR, SECOND
from features.encoding import SEPARATOR, Encodings
from features.fields import OTHER_UNIT, UNITS
from features.increment import CODES
from features.offline.moments import EVENTS
from features.spec import FeatureSpec

Expression = Callable[[FeatureSpec], pl.Expr]


def _input(spec: FeatureSpec, position: int = 0) -> pl.Expr:
    return pl.col(spec.inputs[position])


def _unit(spec: FeatureSpec) -> pl.Expr:
    return _input(spec, 1).replace_strict(
        list(UNITS), list(UNITS.values()), default=OTHER_UNIT, return_dtype=pl.Float64
    )


def _number(condition: pl.Expr) -> pl.Expr:
    return condition.cast(pl.Float64)


def _weekday(spec: FeatureSpec) -> pl.Expr:
    return (_input(spec) // DAY + 3) % 7


STATIC: Final[dict[str, Expression]] = {
    "number": lambda spec: _input(spec).cast(pl.Float64),
    "flag": lambda spec: _number(_input(spec)),
    "present": lambda spec: _number(_input(spec).is_not_null()),
    "equals": lambda spec: _number(_input(spec) == spec.constant),
    "differs": lambda spec: _number(_input(spec) != _input(spec, 1)),
    "major": lambda spec: _input(spec).cast(pl.Float64) / _unit(spec),
    "whole": lambda spec: _number(_input(spec).cast(pl.Float64) % _unit(spec) == 0),
    "hour": lambda spec: (_input(spec) % DAY).cast(pl.Float64) / float(HOUR),
    "weekday": lambda spec: _number(_weekday(spec)),
    "monthday": lambda spec: _number(_input(spec).cast(pl.Datetime("us")).dt.day()),
    "weekend": lambda spec: _number(_weekday(spec) >= 5),
    "night": lambda spec: _number(_input(spec) % DAY < 6 * HOUR),
}
"""Operations on the payment's own columns. A null input gives null, which becomes the feature's default."""


def now(column: str) -> str:
    """Return the name of a running column as of the question (``features.offline.moments``)."""
    return f"now:{column}"


def before(width: int, column: str) -> str:
    """Return the name of a running column as of the start of a window."""
    return f"before:{width}:{column}"


def near(width: int) -> str:
    """Return the name of the distinct members that ``features.offline.distinct`` counts start by start."""
    return f"near:{width}"


def first(width: int) -> str:
    """Return the running column of the distinct members that are the first of any window of this width."""
    return f"first:{width}"


def _sum(width: int, column: str) -> pl.Expr:
    return pl.col(now(column)).fill_null(0) - pl.col(before(width, column)).fill_null(0)


def _window(spec: FeatureSpec, position: int = 0) -> pl.Expr:
    return _sum(spec.width, spec.inputs[position])


def _float(value: pl.Expr) -> pl.Expr:
    return value.cast(pl.Float64)


def _ratio(spec: FeatureSpec) -> pl.Expr:
    part, whole = _window(spec, 0), _window(spec, 1)
    return pl.when(whole != 0).then(_float(part) / _float(whole))


def _relative(spec: FeatureSpec) -> pl.Expr:
    amount, attempts = _window(spec, 0), _window(spec, 1)
    return pl.when(amount != 0).then(_float(pl.col("amount_minor")) * _float(attempts) / _float(amount))


def _distinct(spec: FeatureSpec) -> pl.Expr:
    seen = _sum(spec.width, first(spec.width)) + pl.col(near(spec.width)).fill_null(0)
    return _float(pl.min_horizontal(seen, spec.layout.members))


def _within(spec: FeatureSpec, measure: str, value: pl.Expr) -> pl.Expr:
    """Return what was last, when the longest window holds an event of `measure` at all: then it holds the last one."""
    return pl.when(_sum(spec.layout.horizon, measure) != 0).then(value)


_LAST_OF: Final = {"attempt": "attempts", "result": "results", "approved": "approved"}


def _since(spec: FeatureSpec) -> pl.Expr:
    what = spec.inputs[0]
    elapsed = pl.col("at") - pl.col(now(f"last_{what}"))
    return _within(spec, _LAST_OF[what], _float(elapsed) / float(SECOND))


def _last(spec: FeatureSpec) -> pl.Expr:
    what = spec.inputs[0]
    if what == "amount_minor":
        return _within(spec, "attempts", _float(pl.col(now("last_amount"))))
    return _within(spec, "results", _number(pl.col(now("last_code")) == CODES[what]))


def _decayed(spec: FeatureSpec) -> pl.Expr:
    return _within(spec, "results", pl.col(now(f"decayed:{spec.inputs[0]}")))


def _streak(spec: FeatureSpec) -> pl.Expr:
    old = pl.max_horizontal(pl.col(now("cleared")), pl.col(before(spec.layout.horizon, "declined"))).fill_null(0)
    return _float(pl.min_horizontal(pl.col(now("declined")).fill_null(0) - old, spec.layout.streak))


WINDOWED: Final[dict[str, Expression]] = {
    "count": lambda spec: _float(_window(spec)),
    "rate": _ratio,
    "mean": _ratio,
    "relative": _relative,
    "distinct": _distinct,
    "since": _since,
    "last": _last,
    "decayed": _decayed,
    "streak": _streak,
}
"""Operations on an entity's past, over the columns that ``features.offline.windows`` adds; null gives the default."""


def windowed(spec: FeatureSpec) -> pl.Expr:
    """Return a window feature: its default for an entity that was not seen in its longest window."""
    seen = _sum(spec.layout.horizon, EVENTS) != 0
    return finished(spec, pl.when(seen).then(WINDOWED[spec.operation](spec)))


def finished(spec: FeatureSpec, value: pl.Expr) -> pl.Expr:
    """Return a float64 value as the feature's column: the default for null, rounded to float32 once."""
    # A feature may bear the name of the field it is made of; features live under their own prefix.
    return value.fill_null(spec.default).cast(pl.Float32).alias(f"f:{spec.name}")


@dataclass(frozen=True, slots=True)
class Columns:
    """What the window features of one kind of entity are made of.

    Attributes
    ----------
    now
        Running columns read as of the question.
    before
        By width, running columns read as of a window's start.
    distinct
        Widths in which distinct members are counted.
    """

    now: frozenset[str]
    before: Mapping[int, frozenset[str]]
    distinct: tuple[int, ...]


def columns(specs: Sequence[FeatureSpec]) -> Columns:
    """Return what `windowed` of these specs reads."""
    names = sorted({name for spec in specs for name in windowed(spec).meta.root_names()})
    starts: dict[int, set[str]] = {}
    for name in names:
        if name.startswith("before:"):
            _, width, column = name.split(":", 2)
            starts.setdefault(int(width), set()).add(column)
    return Columns(
        now=frozenset(name.removeprefix("now:") for name in names if name.startswith("now:")),
        before={width: frozenset(found) for width, found in starts.items()},
        distinct=tuple(sorted(int(name.removeprefix("near:")) for name in names if name.startswith("near:"))),
    )


def prior(spec: FeatureSpec, encodings: Encodings) -> pl.Expr:
    """Return the encoded category of a `prior` feature."""
    encoding = encodings[spec.name]
    key = pl.concat_str([pl.col(name).fill_null("") for name in spec.inputs], separator=SEPARATOR)
    if not encoding.values:
        return pl.lit(encoding.default, dtype=pl.Float64)
    return key.replace_strict(
        list(encoding.values), list(encoding.values.values()), default=encoding.default, return_dtype=pl.Float64
    )
