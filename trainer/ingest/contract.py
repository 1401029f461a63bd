"""What the wire contract says about each column of the history, read from the message types themselves.

This module must not know any mapping or file: it is the one place where ``contracts`` becomes checks of a table.
"""

import typing
from typing import Any, Final

import msgspec
from msgspec import inspect

from contracts.base import Share
from contracts.currency import EXPONENT
from contracts.history import COLUMNS
from contracts.outcome import Outcome
from contracts.payment import AuthRequest
from trainer.ingest.country import COUNTRIES


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one column; None where the contract sets none."""

    max_length: int | None = None
    pattern: str | None = None
    choices: tuple[str, ...] | None = None
    least: float | None = None
    most: float | None = None
    is_country: bool = False
    is_currency: bool = False


def _types() -> dict[str, Any]:
    """Return the annotated type of every history column that is a field of a message, and of `propensity`."""
    fields = typing.get_type_hints(Outcome, include_extras=True) | typing.get_type_hints(
        AuthRequest, include_extras=True
    )
    known = {name: fields[name] for name in COLUMNS if name in fields}
    return {**known, "propensity": Share | None}


def _rule(name: str, kind: inspect.Type) -> Rule:
    if isinstance(kind, inspect.UnionType):
        kind = next(part for part in kind.types if not isinstance(part, inspect.NoneType))
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.StrType):
        return Rule(
            max_length=kind.max_length,
            pattern=kind.pattern,
            is_country=name.endswith("_country"),
            is_currency=name == "currency",
        )
    if isinstance(kind, inspect.LiteralType):
        return Rule(choices=tuple(str(value) for value in kind.values))
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        return Rule(least=kind.ge, most=kind.le)
    return Rule()


TYPES: Final[dict[str, Any]] = _types()
"""The message type of each column, None allowed where the message may leave the field out."""

RULES: Final[dict[str, Rule]] = {
    name: _rule(name, inspect.type_info(TYPES[name])) if name in TYPES else Rule() for name in COLUMNS
}
"""The rule of every column of the history."""


def complaint(name: str, value: Any) -> str | None:
    """Say why one value may not stand in a column, or None when it may.

    >>> complaint("currency", "EURO"), complaint("uses_3ds", True), complaint("issuer_country", "UK")
    ("Expected `str` matching regex '^[A-Z]{3}$'", None, "expected an ISO 3166-1 code, got 'UK'")
    """
    try:
        msgspec.convert(value, TYPES[name])
    except msgspec.ValidationError as error:
        return str(error)
    rule = RULES[name]
    if rule.is_country and value not in COUNTRIES:
        return f"expected an ISO 3166-1 code, got {value!r}"
    if rule.is_currency and value not in EXPONENT:
        return f"expected an ISO 4217 code, got {value!r}"
    return None
