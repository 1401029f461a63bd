"""Teaches Schemathesis what it cannot know of the edge; it imports this module where ``SCHEMATHESIS_HOOKS`` names it."""

from typing import Any, Final

import msgspec
import schemathesis

_LARGEST: Final[int] = 2**64 - 1


@schemathesis.serializer("application/msgpack")
def encode(_context: schemathesis.SerializationContext, value: Any) -> bytes:
    """Return a generated body as MessagePack."""
    return msgspec.msgpack.encode(_fitting(value))


@schemathesis.deserializer("application/msgpack")
def decode(_context: schemathesis.DeserializationContext, response: schemathesis.Response) -> Any:
    """Return the value of an answer in MessagePack, as JSON would have it."""
    return msgspec.to_builtins(msgspec.msgpack.decode(response.content))


@schemathesis.hook
def map_body(_context: schemathesis.HookContext, body: Any) -> Any:
    """Write whole numbers without a fraction: JSON Schema counts 12.0 among the integers, and the edge takes 12 alone."""
    if isinstance(body, dict):
        return {name: map_body(_context, value) for name, value in body.items()}
    if isinstance(body, list):
        return [map_body(_context, value) for value in body]
    return int(body) if isinstance(body, float) and body.is_integer() else body


@schemathesis.hook
def filter_case(_context: schemathesis.HookContext, case: Any) -> bool:
    """Leave out requests whose only fault is a header that nobody has heard of: HTTP takes any (RFC 9110, 5.1)."""
    return "x-schemathesis-unknown-property" not in (case.headers or {})


def _fitting(value: Any) -> Any:
    """Return a value that MessagePack can hold: an integer past its 64 bits goes as a floating-point number."""
    if isinstance(value, dict):
        return {name: _fitting(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_fitting(inner) for inner in value]
    if isinstance(value, int) and not -(2**63) <= value <= _LARGEST:
        return float(value) if abs(value) < 2**1023 else 1e308
    return value
