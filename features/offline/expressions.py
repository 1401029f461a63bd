"""Each operation of the catalog as a Polars expression: the offline twin of ``features.assemble``.

Arithmetic is in float64 in the same order as online and is rounded to float32 once, at the end.
"""

from collections.abc import Callable
from typing import Final

import polars as pl

from features.assemble import OTHER_UNIT, UNITS
from features.clock import DAY, HOUR, SECOND
from features.encoding import SEPARATOR, Encodings
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


def measure(spec: FeatureSpec, name: str) -> str:
    """Return the column that holds one measure of a spec's window."""
    return f"_{spec.entity}_{spec.width}_{name}"


def last_attempt(entity: str) -> str:
    """Return the column that holds the time of an entity's last attempt."""
    return f"_{entity}_last_attempt"


def seen(entity: str, horizon: int) -> str:
    """Return the column that counts an entity's events in its longest window."""
    return f"_{entity}_{horizon}_events"


def _ratio(spec: FeatureSpec) -> pl.Expr:
    part, whole = (pl.col(measure(spec, name)) for name in spec.inputs)
    return pl.when(whole != 0).then(part.cast(pl.Float64) / whole.cast(pl.Float64))


def _relative(spec: FeatureSpec) -> pl.Expr:
    amount, attempts = (pl.col(measure(spec, name)) for name in spec.inputs)
    product = pl.col("amount_minor").cast(pl.Float64) * attempts.cast(pl.Float64)
    return pl.when(amount != 0).then(product / amount.cast(pl.Float64))


def _since(spec: FeatureSpec) -> pl.Expr:
    assert spec.entity is not None
    elapsed = pl.col("at") - pl.col(last_attempt(spec.entity))
    return pl.when(pl.col(measure(spec, spec.inputs[0])) != 0).then(elapsed.cast(pl.Float64) / float(SECOND))


WINDOWED: Final[dict[str, Expression]] = {
    "count": lambda spec: pl.col(measure(spec, spec.inputs[0])).cast(pl.Float64),
    "rate": _ratio,
    "mean": _ratio,
    "relative": _relative,
    "since": _since,
}
"""Operations on an entity's window, over the columns that ``features.offline.windows`` adds."""


def prior(spec: FeatureSpec, encodings: Encodings) -> pl.Expr:
    """Return the encoded category of a `prior` feature."""
    encoding = encodings[spec.name]
    key = pl.concat_str([pl.col(name).fill_null("") for name in spec.inputs], separator=SEPARATOR)
    if not encoding.values:
        return pl.lit(encoding.default, dtype=pl.Float64)
    return key.replace_strict(
        list(encoding.values), list(encoding.values.values()), default=encoding.default, return_dtype=pl.Float64
    )
