"""Whether a payment must be authenticated, and under which exemption it may go without.

This module must not know what an authentication is worth.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

from contracts.payment import Payment
from service.ledger import FAILED, Entry, attempt_id
from service.policy import words
from service.policy.sca import Band, Sca, Scope
from service.policy.terms import Terms

Exemption = Literal["low_value", "transaction_risk_analysis", "merchant_initiated", "one_leg_out"]
Said = tuple[str, str, tuple[Any, ...]]
"""A reason that is not written yet: code, %-format, and what goes into it."""


class Duty(msgspec.Struct, frozen=True, gc=False):
    """What the law asks of a payment.

    Attributes
    ----------
    required
        It must be authenticated: nothing exempts it, and it is not authenticated yet.
    exemption
        Under which it goes without.
    said
        The reason, with the rule's id; None where the law asks nothing.
    """

    required: bool = False
    exemption: Exemption | None = None
    said: Said | None = None


NOTHING: Final = Duty()


class Exemptions:
    """Judges payments for one bundle.

    Parameters
    ----------
    low_value_minor
        The bundle's own thresholds by currency: they lower those of the rules, or state one where the rules have none.
    """

    __slots__ = ("_own",)

    def __init__(self, low_value_minor: Mapping[str, int]) -> None:
        self._own = dict(low_value_minor)

    def of(self, request: Payment, sca: Sca, terms: Terms, low_risk: bool, ledger: Sequence[Entry]) -> Duty:
        """Say what the law asks of a payment.

        A payment is in scope with both ends where authentication is law; a merchant's country that is not known is
        taken to be there, for the duty is the safer reading. Then, in this order: merchant initiated payments are
        outside; a low value is exempt unless the counters are known to be used up; transaction risk analysis exempts
        a payment of low risk by the acquirer's fraud rate and the amount; everything else must be authenticated.

        Parameters
        ----------
        low_risk : bool
            Whether the payment's risk tier is the lowest: a rate alone does not exempt a payment that looks abnormal
            (EU RTS 2018/389, article 18(2)(c)).
        ledger : sequence of Entry
            Attempts of the card at the merchant, as far as known; the one asked about is not counted.
        """
        required = sca.required
        if required is None or request.uses_3ds:
            return NOTHING
        countries = required.countries
        issuing = request.issuer_country in countries
        acquiring = request.merchant_country is None or request.merchant_country in countries
        if not issuing and (not acquiring or request.merchant_country is None):
            return NOTHING
        if issuing != acquiring and sca.one_leg_out is not None:
            values = (request.issuer_country, request.merchant_country, sca.one_leg_out.bound.id)
            return Duty(False, "one_leg_out", (*words.ONE_LEG_OUT, values))
        if request.initiator == "merchant":
            if sca.merchant_initiated is None:
                return NOTHING
            said = (*words.MERCHANT_INITIATED, (sca.merchant_initiated.bound.id,))
            return Duty(False, "merchant_initiated", said)
        return self._exempt(request, sca, required, terms, low_risk, ledger)

    def _exempt(
        self, request: Payment, sca: Sca, required: Scope, terms: Terms, low_risk: bool, ledger: Sequence[Entry]
    ) -> Duty:
        """Say what exempts a customer's payment that is in scope."""
        used_up: Said | None = None
        low = self._low_value(request, sca)
        if low is not None:
            below, source = low
            used_up = _counted(request, sca, below, ledger)
            if used_up is None:
                values = (request.amount_minor, below, request.currency, source)
                return Duty(False, "low_value", (*words.LOW_VALUE, values))
        if terms.fraud_basis_points is not None and low_risk:
            band = _band(request, sca, terms.fraud_basis_points)
            if band is not None:
                said: Said = (
                    *words.RISK_ANALYSIS,
                    (
                        request.amount_minor,
                        band.up_to_minor,
                        request.currency,
                        terms.fraud_basis_points,
                        band.fraud_rate_basis_points,
                        band.bound.id,
                    ),
                )
                return Duty(False, "transaction_risk_analysis", said)
        if used_up is not None:
            return Duty(True, None, used_up)
        said = (
            *words.REQUIRED,
            (request.issuer_country, request.merchant_country or "a country not named", required.bound.id),
        )
        return Duty(True, None, said)

    def _low_value(self, request: Payment, sca: Sca) -> tuple[int, str] | None:
        """Return the threshold that the amount is below, and where it comes from; None if it is not below one."""
        rule = sca.low_value(request.currency)
        own = self._own.get(request.currency)
        if rule is not None:
            if request.issuer_country not in rule.countries:
                return None
            below = rule.below_minor if own is None or own > rule.below_minor else own
            source = rule.bound.id
        elif own is not None:
            below, source = own, "policy parameters"
        else:
            return None
        return (below, source) if request.amount_minor < below else None


def _band(request: Payment, sca: Sca, fraud_basis_points: float) -> Band | None:
    """Return the smallest band of transaction risk analysis that an amount and a fraud rate are in."""
    for band in sca.bands(request.currency):
        if (
            request.amount_minor <= band.up_to_minor
            and fraud_basis_points <= band.fraud_rate_basis_points
            and request.issuer_country in band.countries
        ):
            return band
    return None


def _counted(request: Payment, sca: Sca, below: int, ledger: Sequence[Entry]) -> Said | None:
    """Return the reason why the issuer's counters are known to be used up; None if they are not.

    Counted are low value attempts of the card at this merchant that were approved or may have been, back to the last
    one that was not of low value: that one was authenticated, or exempt by its own right. The issuer knows of other
    merchants and of every authentication, so that this is no more than a first bound.
    """
    counter = sca.counter(request.currency)
    if counter is None or not ledger:
        return None
    count, total = 0, 0
    own = attempt_id(request.payment_id, request.attempt)
    for entry in reversed(ledger):
        if entry.status == FAILED or entry.attempt == own:
            continue
        if entry.amount_minor >= below:
            break
        count += 1
        total += entry.amount_minor
    if count < counter.payments and total + request.amount_minor <= counter.cumulated_minor:
        return None
    return (
        *words.USED_UP,
        (count, total, counter.payments, counter.cumulated_minor, counter.bound.id),
    )
