"""Features of the payment's own fields, as expressions of Python source.

This module must not know of any state.
"""

from typing import Final

from contracts.currency import EXPONENT
from features.encoding import SEPARATOR
from features.spec import FeatureSpec

UNITS: Final[dict[str, float]] = {code: 10.0**exponent for code, exponent in EXPONENT.items()}
"""Minor units in one major unit, by currency; a currency that is not here has 100."""

OTHER_UNIT: Final = 100.0

# Operations on the payment's own fields: an expression over a, b (the inputs), k (the constant), at, us.
# `at` is the moment of the decision and `us` the moment the feature speaks of, both in microseconds.
STATIC: Final[dict[str, str]] = {
    "number": "{absent} if {a} is None else {a}",
    "flag": "{absent} if {a} is None else (1.0 if {a} else 0.0)",
    "present": "0.0 if {a} is None else 1.0",
    "equals": "{absent} if {a} is None else (1.0 if {a} == {k} else 0.0)",
    "differs": "{absent} if {a} is None or {b} is None else (1.0 if {a} != {b} else 0.0)",
    "major": "{a} / units.get({b}, other_unit)",
    "whole": "1.0 if {a} % units.get({b}, other_unit) == 0 else 0.0",
    "hour": "({us} % day) / hour",
    "weekday": "({us} // day + 3) % 7",
    "monthday": "date({us} // day + first_day).day",
    "weekend": "1.0 if ({us} // day + 3) % 7 >= 5 else 0.0",
    "night": "1.0 if {us} % day < 6 * hour else 0.0",
}
"""Expressions, to be formatted."""

_FIELD: Final[dict[str, str]] = {
    "at": "at",
    "retry_at": "(at + wait * second)",
    "wait_seconds": "wait",
    "processor": "processor",
    "same_processor": "(processor == p.decline.processor)",
    "response_code": "p.decline.response_code",
    "advice_code": "p.decline.advice_code",
}


def _field(name: str) -> str:
    return _FIELD.get(name, f"p.{name}")


def category_source(spec: FeatureSpec, scope: str) -> tuple[str, str]:
    """Return the part of a category that all rows share, and the whole as an expression over it ("{given}")."""
    parts = [f"({_field(name)} or '')" for name in spec.inputs]
    join = f" + {SEPARATOR!r} + "
    if scope != "candidate":
        return join.join(parts), "{given}"
    if parts == ["(processor or '')"]:
        return "", "processor or ''"
    # The candidate comes first in a category of its own.
    return f"{SEPARATOR!r} + {join.join(parts[1:])}", "(processor or '') + {given}"


def static_source(spec: FeatureSpec) -> str:
    """Return a static feature as an expression over the payment `p`, the moment `at` and the `wait`."""
    fields = [_field(name) for name in spec.inputs]
    return STATIC[spec.operation].format(
        a=fields[0], b=fields[-1], us=fields[0], k=repr(spec.constant), absent=repr(spec.default)
    )
