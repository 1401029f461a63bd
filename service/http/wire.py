"""Bytes on the wire: the two forms a body may have, which one a request uses, and reading a body up to its limit.

This module must not know any message.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from litestar.types import Receive

from service.errors import RequestRefused
from service.http import pan, plain

Headers = Mapping[bytes, bytes]


class ClientGone(Exception):
    """The client closed the connection before its request was complete; nobody waits for an answer."""


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """One form of a body: how to decode, encode, split a list, read as a plain tree and clear it of card numbers.

    `line_feed` is what the body holds whenever a string in it holds a line feed. A form that `veils` does not show every card
    number in its bytes, so that what was decoded is looked at too.
    """

    title: str
    media_type: bytes
    decoder: Callable[[Any], Callable[[bytes], Any]]
    encode: Callable[[Any], bytes]
    split: Callable[[bytes], list[Any]]
    read: Callable[[bytes], Any]
    suspicious: Callable[[bytes], bool]
    line_feed: bytes
    veils: bool


JSON: Final = Form(
    title="JSON",
    media_type=b"application/json",
    decoder=lambda message: msgspec.json.Decoder(message, strict=True).decode,
    encode=msgspec.json.Encoder().encode,
    split=msgspec.json.Decoder(list[msgspec.Raw]).decode,
    read=plain.read_json,
    suspicious=pan.suspicious_json,
    line_feed=b"\\",
    veils=False,
)
MSGPACK: Final = Form(
    title="MessagePack",
    media_type=b"application/msgpack",
    decoder=lambda message: msgspec.msgpack.Decoder(message, strict=True).decode,
    encode=msgspec.msgpack.Encoder().encode,
    split=msgspec.msgpack.Decoder(list[msgspec.Raw]).decode,
    read=plain.read_msgpack,
    suspicious=pan.suspicious_msgpack,
    line_feed=b"\n",
    veils=True,
)
_FORMS: Final[dict[bytes, Form]] = {
    b"application/json": JSON,
    b"application/msgpack": MSGPACK,
    b"application/x-msgpack": MSGPACK,
    b"application/vnd.msgpack": MSGPACK,
}


def form_of(headers: Headers) -> Form:
    """Return the form of a request's body; a body that does not say is JSON.

    Raises
    ------
    RequestRefused
        ``unsupported_media_type`` for another type, another charset or a compressed body.
    """
    raw = headers.get(b"content-type")
    if b"content-encoding" in headers and headers[b"content-encoding"].strip().lower() not in {b"", b"identity"}:
        raise _unsupported(expected="a body without Content-Encoding")
    if not raw:
        return JSON
    form = _FORMS.get(raw)
    if form is not None:
        return form
    media_type, *parameters = raw.lower().split(b";")
    form = _FORMS.get(media_type.strip())
    if form is None:
        raise _unsupported(expected="application/json or application/msgpack")
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"charset" and value.strip(b' "') not in {b"utf-8", b"utf8"}:
            raise _unsupported(expected="charset utf-8")
    return form


def _unsupported(*, expected: str) -> RequestRefused:
    return RequestRefused(code="unsupported_media_type", path="$", detail=f"expected {expected}")


def answer_form(headers: Headers, asked_in: Form) -> Form:
    """Return the form of the answer: the first known type the client accepts, else the form it asked in."""
    accept = headers.get(b"accept")
    if accept is None or accept == b"*/*":
        return asked_in
    best, best_quality = asked_in, 0.0
    for choice in accept.lower().split(b","):
        media_type, *parameters = choice.split(b";")
        form = _FORMS.get(media_type.strip())
        quality = _quality(parameters)
        if form is not None and quality > best_quality:
            best, best_quality = form, quality
    return best


def _quality(parameters: list[bytes]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name.strip() == b"q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


async def read_body(headers: Headers, receive: Receive, limit: int) -> bytes:
    """Return the body, refusing it as soon as it is known to be longer than `limit` bytes.

    Raises
    ------
    RequestRefused
        ``body_too_large``.
    ClientGone
        When the client left before the end of the body.
    """
    declared = headers.get(b"content-length")
    if declared is not None and (len(declared) > 12 or (declared.isdigit() and int(declared) > limit)):
        raise too_large(limit)
    message: Any = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise too_large(limit)
        return body
    parts = [body]
    size = len(body)
    while message.get("more_body", False):
        if size > limit:
            raise too_large(limit)
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
    if size > limit:
        raise too_large(limit)
    return b"".join(parts)


def too_large(limit: int) -> RequestRefused:
    """Return the refusal of a body of more than `limit` bytes."""
    return RequestRefused(code="body_too_large", path="$", detail=f"expected at most {limit} bytes")
