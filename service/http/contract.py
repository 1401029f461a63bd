"""Why a body breaks its contract: code, path and what was expected, read from the contract's own types.

msgspec decides *whether* a body is right, at full speed; its messages may repeat values and leave out the name of a
missing field. When it refuses, the body is walked once more against ``msgspec.inspect`` and the answer is written from
the contract alone. This module must not know any single message, and never repeats a value.
"""

import difflib
import math
import re
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec
from msgspec import inspect

from service.errors import RefusalCode, RequestRefused
from service.http.plain import Members, child, item

_MOMENT: Final[Any] = Annotated[datetime, msgspec.Meta(tz=True)]


class Contract:
    """The contract of one message.

    Parameters
    ----------
    message
        A type msgspec can decode.
    """

    def __init__(self, message: Any) -> None:
        self._type = inspect.type_info(message)

    def refusal(self, tree: Any) -> RequestRefused | None:
        """Return why a decoded body breaks the contract, or None when it does not."""
        try:
            _check(self._type, tree, "$")
        except RequestRefused as refused:
            return refused
        return None


def _refuse(path: str, code: RefusalCode, detail: str) -> RequestRefused:
    return RequestRefused(code=code, path=path, detail=detail)


def _check(kind: inspect.Type, value: Any, path: str) -> None:
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        kind = _member_for(kind, value, path)
    if not _is_of(kind, value):
        raise _refuse(path, "wrong_type", f"expected {_name(kind)}, got {_name_of(value)}")
    if isinstance(kind, inspect.StructType):
        _check_struct(kind, value, path)
    elif isinstance(kind, inspect.VarTupleType | inspect.ListType):
        _check_length(len(value), kind.min_length, kind.max_length, "items", path)
        for index, inner in enumerate(value):
            _check(kind.item_type, inner, item(path, index))
    else:
        _check_scalar(kind, value, path)


def _member_for(union: inspect.UnionType, value: Any, path: str) -> inspect.Type:
    members = [member.type if isinstance(member, inspect.Metadata) else member for member in union.types]
    for member in members:
        if _is_of(member, value):
            return member
    names = " or ".join(_name(member) for member in members)
    raise _refuse(path, "wrong_type", f"expected {names}, got {_name_of(value)}")


def _check_struct(kind: inspect.StructType, members: Members, path: str) -> None:
    fields = {field.encode_name: field for field in kind.fields}
    for key, value in members:
        field = fields.get(key) if isinstance(key, str) else None
        if field is None:
            raise _unknown(key, fields, path)
        _check(field.type, value, child(path, key))
    present = {key for key, _ in members}
    for name, field in fields.items():
        if field.required and name not in present:
            raise _refuse(child(path, name), "missing_field", f"this field is required: {_expected(field.type)}")


def _unknown(key: Any, fields: Iterable[str], path: str) -> RequestRefused:
    close = difflib.get_close_matches(key[:64], fields, n=1) if isinstance(key, str) else []
    hint = f"; the nearest known one is `{close[0]}`" if close else ""
    return _refuse(child(path, key), "unknown_field", f"this field is not part of the contract{hint}")


def _check_scalar(kind: inspect.Type, value: Any, path: str) -> None:
    if isinstance(kind, inspect.LiteralType):
        if value not in kind.values:
            raise _refuse(path, "not_allowed", f"expected {_expected(kind)}")
    elif isinstance(kind, inspect.IntType | inspect.FloatType):
        low = -math.inf if kind.ge is None else kind.ge
        high = math.inf if kind.le is None else kind.le
        if not low <= value <= high or (isinstance(value, float) and not math.isfinite(value)):
            raise _refuse(path, "out_of_range", f"expected {_expected(kind)}")
    elif isinstance(kind, inspect.StrType):
        _check_length(len(value), kind.min_length, kind.max_length, "characters", path)
        # Python's $ also matches before a last line feed; no such name is a name.
        if kind.pattern is not None and (value.endswith("\n") or not re.search(kind.pattern, value)):
            raise _refuse(path, "wrong_format", f"expected {_expected(kind)}")
    elif isinstance(kind, inspect.DateTimeType) and not _is_moment(value):
        raise _refuse(path, "wrong_format", f"expected {_expected(kind)}")


def _check_length(length: int, low: int | None, high: int | None, of: str, path: str) -> None:
    if length < (low or 0) or (high is not None and length > high):
        raise _refuse(path, "out_of_range", f"expected {low or 0} to {high} {of}, got {length}")


def _is_moment(value: Any) -> bool:
    try:
        msgspec.convert(value, _MOMENT)
    except ValueError:
        return False
    return True


def _is_of(kind: inspect.Type, value: Any) -> bool:
    if isinstance(value, bool) or value is None:
        return isinstance(kind, inspect.NoneType if value is None else inspect.BoolType)
    if isinstance(kind, inspect.StructType):
        return isinstance(value, Members)
    if isinstance(kind, inspect.VarTupleType | inspect.ListType):
        return isinstance(value, list) and not isinstance(value, Members)
    if isinstance(kind, inspect.IntType):
        return isinstance(value, int)
    if isinstance(kind, inspect.FloatType):
        return isinstance(value, int | float)
    if isinstance(kind, inspect.DateTimeType):
        return isinstance(value, str | datetime)
    return isinstance(kind, inspect.StrType | inspect.LiteralType) and isinstance(value, str)


_NAMES: Final[tuple[tuple[type[inspect.Type], str], ...]] = (
    (inspect.StructType, "an object"),
    (inspect.VarTupleType, "an array"),
    (inspect.ListType, "an array"),
    (inspect.StrType, "a string"),
    (inspect.LiteralType, "a string"),
    (inspect.DateTimeType, "a time as a string"),
    (inspect.IntType, "an integer"),
    (inspect.FloatType, "a number"),
    (inspect.BoolType, "a boolean"),
    (inspect.NoneType, "null"),
)


def _name(kind: inspect.Type) -> str:
    return next((name for known, name in _NAMES if isinstance(kind, known)), "another type")


def _name_of(value: Any) -> str:
    named: tuple[tuple[type, str], ...] = (
        (Members, "an object"),
        (list, "an array"),
        (str, "a string"),
        (bool, "a boolean"),
        (int, "an integer"),
        (float, "a number with a fraction or exponent"),
        (type(None), "null"),
        (datetime, "a timestamp"),
        (bytes, "bytes"),
    )
    return next((name for known, name in named if isinstance(value, known)), "an extension type")


def _expected(kind: inspect.Type) -> str:
    """Say what a field wants, in words made from the contract."""
    if isinstance(kind, inspect.Metadata):
        kind = kind.type
    if isinstance(kind, inspect.UnionType):
        return " or ".join(_expected(member) for member in kind.types)
    if isinstance(kind, inspect.LiteralType):
        return "one of " + ", ".join(map(str, kind.values))
    if isinstance(kind, inspect.IntType | inspect.FloatType) and kind.ge is not None and kind.le is not None:
        return (
            f"{_name(kind)} from {kind.ge:g} to {kind.le:g}"
            if kind.le < 1e6
            else (f"{_name(kind)} from {kind.ge} to {kind.le}")
        )
    if isinstance(kind, inspect.StrType) and kind.pattern is not None:
        return f"a string that matches {kind.pattern}"
    if isinstance(kind, inspect.DateTimeType):
        return "an RFC 3339 time with an offset"
    return _name(kind)
