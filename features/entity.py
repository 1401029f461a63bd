"""Of whom something is remembered: the kinds of entity a payment names, and the key of each.

This module must not know what is remembered.
"""

from typing import Final, Protocol

FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "card": ("card_token",),
    "customer": ("customer_id",),
    "device": ("device_id",),
    "merchant": ("merchant_id",),
    "merchant_card": ("merchant_id", "card_token"),
    "bin": ("card_bin",),
    "issuer": ("issuer_country",),
    "processor": ("processor",),
    "processor_bin": ("processor", "card_bin"),
    "processor_issuer": ("processor", "issuer_country"),
}
"""The fields of a payment (or of its attempt) that make each kind's key; a payment without one of them has no such entity."""

KINDS: Final = tuple(FIELDS)
"""Every kind, in the order in which their keys are named everywhere."""

PAYMENT_KINDS: Final = KINDS[:7]
"""Kinds that a payment names itself."""

CANDIDATE_KINDS: Final = KINDS[7:]
"""Kinds that a payment has with each candidate processor."""

Keys = tuple[str | None, ...]


class Named(Protocol):
    """A payment, or whatever else names the entities of one."""

    @property
    def card_token(self) -> str: ...  # noqa: D102
    @property
    def customer_id(self) -> str | None: ...  # noqa: D102
    @property
    def device_id(self) -> str | None: ...  # noqa: D102
    @property
    def merchant_id(self) -> str: ...  # noqa: D102
    @property
    def card_bin(self) -> str | None: ...  # noqa: D102
    @property
    def issuer_country(self) -> str: ...  # noqa: D102


def key(*values: str | None) -> str | None:
    """Return the key of an entity named by one or two values; None when one of them is not there.

    The first of two is preceded by its length, so that no two pairs make one key.

    >>> key("tok_1"), key("north", "411111"), key("north", None)
    ('tok_1', '5:north411111', None)
    """
    first, *rest = values
    if first is None:
        return None
    if not rest:
        return first
    (second,) = rest
    return None if second is None else f"{len(first)}:{first}{second}"


def payment_keys(payment: Named) -> Keys:
    """Return the keys of `PAYMENT_KINDS`."""
    card, merchant = payment.card_token, payment.merchant_id
    return (
        card,
        payment.customer_id,
        payment.device_id,
        merchant,
        f"{len(merchant)}:{merchant}{card}",
        payment.card_bin,
        payment.issuer_country,
    )


def candidate_keys(payment: Named, processor: str) -> Keys:
    """Return the keys of `CANDIDATE_KINDS` for one candidate."""
    head = f"{len(processor)}:{processor}"
    card_bin = payment.card_bin
    return processor, None if card_bin is None else head + card_bin, head + payment.issuer_country
