"""Bytes to a checked message: the card number guard, strict decoding, and the reasons for a refusal.

This module must not know HTTP.
"""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

import msgspec

from service.errors import RequestRefused
from service.http.contract import Contract
from service.http.pan import find_path, suspicious_value
from service.http.plain import malformed
from service.http.wire import JSON, MSGPACK, Form

T = TypeVar("T")


class Message(Generic[T]):
    """One kind of request body, compiled at start.

    Parameters
    ----------
    message
        The type to decode.
    check
        What types cannot say; raises `RequestRefused`.
    exempt
        Names of fields the card number guard skips.
    """

    def __init__(self, message: Any, check: Callable[[T], None], exempt: Iterable[str]) -> None:
        self._contract = Contract(message)
        self._check = check
        self._exempt = frozenset(exempt)
        self._decode: dict[bytes, Callable[[bytes], T]] = {
            form.media_type: form.decoder(message) for form in (JSON, MSGPACK)
        }

    def read(self, form: Form, body: bytes) -> T:
        """Return the message in `body`.

        Raises
        ------
        RequestRefused
            With the code, path and expectation that tell the sender what to change.
        """
        if form.suspicious(body):
            self._guard(form, body)
        try:
            value = self._decode[form.media_type](body)
        except msgspec.ValidationError:
            raise self._refusal(form, body) from None
        except (ValueError, RecursionError) as error:
            raise malformed(error, form.title) from None
        if form.veils and suspicious_value(value):
            self._guard(form, body)
        if form.line_feed in body:
            self._refuse_line_feeds(form, body)
        self._check(value)
        return value

    def _guard(self, form: Form, body: bytes) -> None:
        path = find_path(form.read(body), self._exempt)
        if path is not None:
            detail = "expected a token, got what passes for a card number: no card number may be sent here"
            raise RequestRefused(code="pan_detected", path=path, detail=detail)

    def _refusal(self, form: Form, body: bytes) -> RequestRefused:
        if form.veils:
            self._guard(form, body)
        refusal = self._contract.refusal(form.read(body))
        if refusal is not None:
            return refusal
        return RequestRefused(code="wrong_format", path="$", detail="the body does not match its contract")

    def _refuse_line_feeds(self, form: Form, body: bytes) -> None:
        """Refuse names that end in a line feed, which the patterns of the contract let pass in Python."""
        refusal = self._contract.refusal(form.read(body))
        if refusal is not None:
            raise refusal
