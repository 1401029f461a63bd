"""The answer that a question was given, as the store keeps it: asked again, the same question has it word for word.

A question is the same when every field of it is; how a body wrote them down (JSON or MessagePack, the order of members, an
offset of a time) makes no other question of it.

This module must not know where answers are kept, nor how one is found.
"""

from hashlib import blake2b
from typing import Final, Generic, Literal, TypeVar

import msgspec

from contracts.decision import Decision, RetryDecision
from contracts.payment import Payment

Kind = Literal["auth", "routing", "retry"]
T = TypeVar("T")

_DIGEST_BYTES: Final = 16


class Answered(msgspec.Struct, Generic[T], frozen=True, array_like=True):
    """An answer, the digest of its question, and when it was decided, microseconds."""

    digest: bytes
    answer: T
    decided_at: int


_encode: Final = msgspec.msgpack.Encoder().encode
_DECIDED: Final = msgspec.msgpack.Decoder(Answered[Decision]).decode
_RETRIED: Final = msgspec.msgpack.Decoder(Answered[RetryDecision]).decode


def digest_of(request: Payment) -> bytes:
    """Return 16 bytes that are others for another question."""
    return blake2b(_encode(request), digest_size=_DIGEST_BYTES).digest()


def encode(request: Payment, answer: Decision | RetryDecision, decided_at: int) -> bytes:
    """Return an answer to `request` as the bytes a store keeps."""
    return _encode(Answered(digest_of(request), answer, decided_at))


def decode(kind: Kind, content: bytes) -> Answered[Decision] | Answered[RetryDecision] | None:
    """Return the answer in `content`; None for one that cannot be read, which then counts as not there."""
    try:
        return _RETRIED(content) if kind == "retry" else _DECIDED(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def differing(asked: Payment, before: Payment) -> tuple[str, ...]:
    """Return the names of the fields in which two questions differ.

    >>> one = Payment(
    ...     payment_id="p", merchant_id="m", amount_minor=1, currency="EUR", card_token="c", card_network="visa",
    ...     issuer_country="DE",
    ... )
    >>> differing(one, msgspec.structs.replace(one, amount_minor=2, channel="web"))
    ('amount_minor', 'channel')
    """
    return tuple([name for name in asked.__struct_fields__ if getattr(asked, name) != getattr(before, name, None)])
