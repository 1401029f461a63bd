"""Ways of sending an attempt: with or without an authentication, as a network token or as a card number.

This module must not know a processor.
"""

from typing import Final, Literal

import msgspec

from contracts.inputs import Authentication, Credential, Variant
from contracts.payment import Payment

NONE: Final = Variant()
THREE_DS: Final = Variant("three_ds")


Label = Literal["none", "exemption", "three_ds"]


class Earned(msgspec.Struct, frozen=True, gc=False):
    """What an approval earns before fees, in minor units, without (`bare`) and with an authentication (`secure`);
    `passing` is the share of payments that come back from one.
    """

    bare: float
    secure: float
    passing: float


class Way(msgspec.Struct, frozen=True, gc=False):
    """One way of sending a payment, whoever processes it.

    Attributes
    ----------
    label
        How an answer calls it: "none", "exemption" or "three_ds".
    variant
        Place of its estimates.
    credential
        What the card is sent as; None: as was asked.
    token
        Whether that is a network token.
    challenge
        Whether the customer is asked to authenticate first.
    secure
        Whether an authentication, made now or before, goes with it.
    passing
        Share of these payments that come back from there to be sent: 1 without a challenge.
    earned
        What an approval earns before fees, after expected chargebacks; minor units.
    """

    label: Label
    variant: int
    credential: Credential | None
    token: bool
    challenge: bool
    secure: bool
    passing: float
    earned: float


class Ways(msgspec.Struct, frozen=True, gc=False):
    """The ways a payment may be sent.

    Attributes
    ----------
    allowed
        Those that are weighed.
    asked
        Those without a new authentication: what is left where no candidate can do what is allowed.
    must
        Whether `allowed` holds challenges alone, because the law or the risk wants one.
    """

    allowed: tuple[Way, ...]
    asked: tuple[Way, ...]
    must: bool


def ways_of(
    request: Payment, variants: tuple[Variant, ...], *, challenge: bool, must: bool, exempt: bool, earned: Earned
) -> Ways:
    """Return the ways a payment may be sent.

    Parameters
    ----------
    variants : tuple of Variant
        What there are estimates for. Without one for an authentication that must be, those without it have to do: a
        duty does not depend on what is known.
    challenge : bool
        Whether a challenge is possible: a customer is there who is not authenticated, and the question is how to send.
    must : bool
        Whether it is called for, if it is possible.
    exempt : bool
        Whether an exemption covers the payment without one.
    """
    secure = bool(request.uses_3ds)
    label: Label = "exemption" if exempt else "none"
    asked: list[Way] = []
    challenged: list[Way] = []
    for place, variant in enumerate(variants):
        credential = variant.credential
        token = bool(request.is_network_token) if credential is None else credential == "network_token"
        if secure:
            # The first is the payment as asked, whatever it is called.
            if place == 0 or variant.authentication == "three_ds":
                asked.append(Way("three_ds", place, credential, token, False, True, 1.0, earned.secure))
        elif variant.authentication == "none":
            asked.append(Way(label, place, credential, token, False, False, 1.0, earned.bare))
        elif challenge:
            challenged.append(Way("three_ds", place, credential, token, True, True, earned.passing, earned.secure))
    if not challenge:
        return Ways(tuple(asked), tuple(asked), False)
    if not must:
        return Ways((*asked, *challenged), tuple(asked), False)
    if not challenged:
        challenged = [
            Way("three_ds", one.variant, one.credential, one.token, True, True, earned.passing, earned.secure)
            for one in asked
        ]
    return Ways(tuple(challenged), tuple(asked), True)


def variants_of(request: Payment, kind: Literal["auth", "routing", "retry"]) -> tuple[Variant, ...]:
    """Return the ways of sending a payment that are worth an estimate, the one that was asked about first.

    An authentication is one when the question is how to send (`auth`), a customer is there, and none was made. The other
    credential is one when the gateway names both; a card not said to be a token counts as a number.
    """
    asked: Authentication = "three_ds" if request.uses_3ds else "none"
    authentications: tuple[Authentication, ...] = (asked,)
    if kind == "auth" and asked == "none" and request.initiator != "merchant":
        if not request.credentials:
            return _PLAIN
        authentications = ("none", "three_ds")
    if not request.credentials:
        return (THREE_DS,) if asked == "three_ds" else (NONE,)
    own: Credential = "network_token" if request.is_network_token else "card_number"
    credentials: list[Credential | None] = [None] if own in request.credentials else []
    credentials += [each for each in dict.fromkeys(request.credentials) if each != own]
    return tuple([Variant(authentication, each) for authentication in authentications for each in credentials])


_PLAIN: Final = (NONE, THREE_DS)
