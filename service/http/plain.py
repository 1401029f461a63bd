"""A body as a plain tree, for the careful slow paths: every member of an object is kept, also when its key comes twice.

This module must not know any message.
"""

import json
import re
from collections.abc import Callable
from typing import Any, Final

import msgspec

from service.errors import RequestRefused

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_MANY_DIGITS: Final = 8
_LONGEST_INTEGER: Final = 400
_HUGE: Final[int] = int("9" * _LONGEST_INTEGER)
_BYTE: Final = re.compile(r"\(byte ([0-9]+)\)")


class Members(list[tuple[Any, Any]]):
    """The members of an object, in order, with those whose key comes twice."""


def read_json(body: bytes) -> Any:
    """Return the tree of a JSON body.

    Raises
    ------
    RequestRefused
        ``malformed_body`` when it is not JSON, or nested too deeply to be read.
    """
    try:
        msgspec.json.decode(body)
    except msgspec.ValidationError:
        pass  # A number beyond every float: well formed, and the contract will say what it thinks of it.
    except (ValueError, RecursionError) as error:
        raise malformed(error, "JSON") from None
    try:
        return json.loads(body, object_pairs_hook=Members, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise malformed(error, "JSON") from None


def read_msgpack(body: bytes) -> Any:
    """Return the tree of a MessagePack body.

    Raises
    ------
    RequestRefused
        ``malformed_body`` when it is not MessagePack, or nested too deeply to be read.
    """
    try:
        return _members(msgspec.msgpack.decode(body))
    except (ValueError, RecursionError) as error:
        raise malformed(error, "MessagePack") from None


def malformed(error: Exception, form: str) -> RequestRefused:
    """Return the refusal of a body that cannot be read at all; of the error's own words only the position is kept."""
    if isinstance(error, RecursionError):
        detail = f"the body is nested too deeply to be read as {form}"
    elif isinstance(error, UnicodeError):
        detail = "text must be UTF-8"
    elif match := _BYTE.search(str(error)):
        detail = f"expected {form}, and it breaks off being that at byte {match.group(1)}"
    else:
        detail = f"expected {form}, and it is cut short or empty, or holds half a surrogate pair"
    return RequestRefused(code="malformed_body", path="$", detail=detail)


def child(path: str, key: Any) -> str:
    """Return the path of a member; a key that is no plain identifier of up to 64 characters, or full of digits, is not shown."""
    shown = isinstance(key, str) and _IDENTIFIER.fullmatch(key) and sum(map(str.isdigit, key)) < _MANY_DIGITS
    return f"{path}.{key}" if shown else path


def item(path: str, index: int) -> str:
    """Return the path of an element of an array."""
    return f"{path}[{index}]"


def _integer(digits: str) -> int:
    """Return an integer; one longer than any number (and than Python would read) is as good as any other such."""
    if len(digits) <= _LONGEST_INTEGER:
        return int(digits)
    return -_HUGE if digits.startswith("-") else _HUGE


def _members(value: Any) -> Any:
    if isinstance(value, dict):
        return Members((key, _members(inner)) for key, inner in value.items())
    if isinstance(value, list):
        return [_members(inner) for inner in value]
    return value


Reader = Callable[[bytes], Any]
