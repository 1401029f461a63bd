"""A long list, read member by member, so that others get their turn between.

A list of a thousand outcomes is half a megabyte. Read in one go, the kind that needs the careful look of the card number guard,
or the reasons for a refusal, holds the event loop for a quarter of a second; here nobody waits longer than for one member,
which is short or refused unread. This module must not know HTTP.
"""

import asyncio
import time
from typing import Any, Final, Generic, TypeVar

import msgspec

from service.errors import RequestRefused
from service.http.messages import Message
from service.http.plain import item, malformed
from service.http.wire import Form

T = TypeVar("T")

LONGEST_MEMBER: Final = 8192
"""Bytes of one member. An outcome has 500 at the most, 5,000 with every character of it escaped."""
TURN_SECONDS: Final = 0.001
"""How long others may wait for their turn, and for the member under way."""


class Turns(Generic[T]):
    """How a long list of one kind of message is read.

    Parameters
    ----------
    member
        How one member is read.
    most
        How many there may be.
    """

    def __init__(self, member: Message[T], most: int) -> None:
        self._read = member.read
        self._most = most

    async def read(self, form: Form, body: bytes) -> tuple[T, ...]:
        """Return the members of the list in `body`.

        Raises
        ------
        RequestRefused
            As for a body that is read at once; where several members are wrong, for the first.
        """
        members = self._split(form, body)
        read: list[T] = []
        began = time.monotonic()
        for index, member in enumerate(members):
            path = item("$", index)
            if len(member) > LONGEST_MEMBER:
                raise _too_long(path)
            try:
                read.append(self._read(form, bytes(member)))
            except RequestRefused as refused:
                raise RequestRefused(code=refused.code, path=path + refused.path[1:], detail=refused.detail) from None
            if time.monotonic() - began > TURN_SECONDS:
                await asyncio.sleep(0)
                began = time.monotonic()
        return tuple(read)

    def _split(self, form: Form, body: bytes) -> list[Any]:
        try:
            members = form.split(body)
        except (ValueError, RecursionError) as error:
            raise self._no_list(form, body, error) from None
        if not 1 <= len(members) <= self._most:
            detail = f"expected 1 to {self._most} items, got {len(members)}"
            raise RequestRefused(code="out_of_range", path="$", detail=detail)
        return members

    def _no_list(self, form: Form, body: bytes, error: Exception) -> RequestRefused:
        if isinstance(error, msgspec.ValidationError):
            try:
                form.decoder(msgspec.Raw)(body)
            except (ValueError, RecursionError) as broken:
                error = broken
            else:
                # One message, or no message at all: in any case longer than one is.
                return _too_long("$")
        return malformed(error, form.title)


def _too_long(path: str) -> RequestRefused:
    return RequestRefused(
        code="out_of_range", path=path, detail=f"expected at most {LONGEST_MEMBER} bytes for one outcome"
    )
