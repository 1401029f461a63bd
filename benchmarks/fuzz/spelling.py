"""A value as bytes, in every way that JSON and MessagePack allow, and in some that they do not.

This module must not know messages.
"""

import json
import math
import random
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

_PLAIN_JSON: Final = msgspec.json.Encoder().encode
_PLAIN_MSGPACK: Final = msgspec.msgpack.Encoder().encode
_LONG: Final = 4_096
"""Bytes from which a body is written plainly: spelling it would take longer than reading it does."""
_BLANKS: Final = ("", "", "", " ", "\n", "\t\r\n  ")
_TOKENS: Final = (
    b"NaN", b"Infinity", b"-Infinity", b"01", b"+1", b"-0", b"1.", b".5", b"1e5", b"1E+2", b"1e-2", b"1e999", b"-1e999",
    b"12.0", b"0.1e1", b"tru", b"'a'", b"\"\\x41\"", b"\"\\ud800\"", b"\"\\ud83d\\udcb3\"", b"\"\x01\"", b"\"\xff\"",
    b"\"\xed\xa0\x80\"",
    b"/**/1", b"undefined", b"1" * 400, b"9" * 5000, b"1" + b"0" * 30, b"1,", b"", b"{", b"]", b"[" * 2000, b"{\"a\":" * 600,
    b"\x00",
)  # fmt: skip
"""What may stand in the place of a value in JSON, or may not."""
_RAW: Final = (
    b"\xc0", b"\xc1", b"\xc2", b"\xc3", b"\xca\x7f\xc0\x00\x00", b"\xcb\x7f\xf0" + b"\x00" * 6, b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + b"\x00" * 7, b"\xd6\xff\x65\x53\xf1\x00", b"\xd7\xff" + b"\xff" * 8, b"\xc7\x0c\xff" + b"\x00" * 12,
    b"\xc7\xff\x05" + b"1" * 255, b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xa2\xff\xfe",
    b"\xc4\x10" + b"4111111111111111", b"\xa3a\xed\xa0", b"\x91" * 2000, b"\x81\xa1a" * 600, b"\x81\x01\x02",
    b"\x82\xa1a\x01\xa1a\x02",
)  # fmt: skip
"""The same in MessagePack: extensions, timestamps, lengths that lie."""


def _plain(encode: Callable[[Any], bytes], value: Any) -> bytes | None:
    try:
        return encode(value)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError):
        return None


def as_json(value: Any, draw: random.Random) -> bytes:
    """Return JSON: mostly as any library writes it, sometimes spelt otherwise, now and then broken on purpose."""
    plain = _plain(_PLAIN_JSON, value)
    if plain is not None and (len(plain) > _LONG or draw.random() < 0.7):
        return plain
    try:
        return _spelt(value, draw, draw.choice((0.0, 0.02, 0.3)))
    except RecursionError:
        return b"[" * 5000


def _spelt(value: Any, draw: random.Random, odd: float) -> bytes:
    if odd and draw.random() < odd / 8:
        return draw.choice(_TOKENS)
    if isinstance(value, dict):
        members = []
        for key, inner in value.items():
            members.append(_text(str(key), draw, odd) + b":" + _spelt(inner, draw, odd))
            if draw.random() < odd / 6:
                # The same key twice: the last one counts, or so everybody hopes.
                members.append(
                    _text(str(key), draw, odd)
                    + b":"
                    + _spelt(draw.choice((inner, None, "4111111111111111", 1)), draw, 0.0)
                )
        return b"{" + _gap(draw, odd) + (b"," + _gap(draw, odd)).join(members) + b"}" + _gap(draw, odd)
    if isinstance(value, list):
        return b"[" + b",".join([_spelt(inner, draw, odd) for inner in value]) + _gap(draw, odd) + b"]"
    if isinstance(value, str):
        return _text(value, draw, odd)
    if isinstance(value, int) and not isinstance(value, bool):
        text = _integer(value)
        return (text + draw.choice((b".0", b"e0", b"E+0", b".5"))) if draw.random() < odd / 4 else text
    return json.dumps(value).encode()


def _integer(value: int) -> bytes:
    # Python refuses to write integers of more than 4,300 digits; those here are shorter.
    return str(value).encode()


def _text(value: str, draw: random.Random, odd: float) -> bytes:
    if draw.random() < odd:
        units = value.encode("utf-16-be", "surrogatepass")
        return b'"' + b"".join(b"\\u%04x" % unit for (unit,) in struct.iter_unpack(">H", units)) + b'"'
    return json.dumps(value, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")


def _gap(draw: random.Random, odd: float) -> bytes:
    return draw.choice(_BLANKS).encode() if odd else b""


def as_msgpack(value: Any, draw: random.Random) -> bytes:
    """Return MessagePack: mostly as any library writes it, sometimes in wider forms or broken on purpose."""
    plain = _plain(_PLAIN_MSGPACK, value)
    if plain is not None and (len(plain) > _LONG or draw.random() < 0.7):
        return plain
    try:
        return _packed(value, draw, draw.choice((0.0, 0.05, 0.3)))
    except RecursionError:
        return b"\x91" * 5000


def _packed(value: Any, draw: random.Random, odd: float) -> bytes:
    if odd and draw.random() < odd / 8:
        return draw.choice(_RAW)
    if isinstance(value, dict):
        items = [_packed(key, draw, odd) + _packed(inner, draw, odd) for key, inner in value.items()]
        if items and draw.random() < odd / 4:
            items.append(draw.choice(items))
        return b"\xdf" + struct.pack(">I", len(items)) + b"".join(items)
    if isinstance(value, list):
        return (
            b"\xdc" + struct.pack(">H", len(value) % 65_536) + b"".join([_packed(inner, draw, odd) for inner in value])
        )
    if isinstance(value, str):
        raw = value.encode("utf-8", "surrogatepass")
        # As text, or as the binary that older writers use for it.
        return (b"\xc6" if draw.random() < odd / 4 else b"\xdb") + struct.pack(">I", len(raw)) + raw
    return _scalar(value)


def _scalar(value: Any) -> bytes:
    if isinstance(value, bool) or value is None:
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        if 0 <= value < 2**64:
            return b"\xcf" + struct.pack(">Q", value)
        if -(2**63) <= value < 0:
            return b"\xd3" + struct.pack(">q", value)
        value = math.inf
    return b"\xcb" + struct.pack(">d", value)


Spelling = Callable[[Any, random.Random], bytes]
TOKENS: Final = (*_TOKENS, *_RAW)
"""What is put into bytes blindly."""
