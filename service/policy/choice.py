"""Auth and routing: which action, and through which processor.

This module must not know how probabilities came about, nor how an answer is sent.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec

from contracts.bundle import PolicyParameters
from contracts.decision import Action, RankedProcessor, Reason, RiskTier
from contracts.payment import Payment
from service.policy.candidate import Candidate, rank, weigh
from service.policy.exploration import BOUND, draw_of, near, pick, propensities
from service.policy.fees import Fees
from service.policy.rules import Rules

MOST_REASONS: Final = 5


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy chose.

    `index` is the chosen candidate's place among the processors asked about; None if there was none, or if the
    payment is declined. `ranking` is sorted best first, ineligible ones last; an explored choice is not its first.
    `approval_probability` is the chosen candidate's, else the best one's, else None.
    """

    action: Action
    index: int | None
    processor: str | None
    approval_probability: float | None
    ranking: tuple[RankedProcessor, ...]
    risk_tier: RiskTier
    three_ds: Literal["none", "challenge"]
    exemption: str | None
    reasons: tuple[Reason, ...]


class Chooser:
    """Chooses for one bundle: everything but the question itself is settled when it is built."""

    __slots__ = ("_fees", "_parameters", "_rules")

    def __init__(self, parameters: PolicyParameters, fees: Fees, rules: Rules) -> None:
        self._parameters = parameters
        self._fees = fees
        self._rules = rules

    def choose(
        self,
        request: Payment,
        processors: tuple[str, ...],
        approval: Sequence[float],
        risk: float,
        *,
        kind: Literal["auth", "routing"],
        now: datetime,
        degraded: tuple[str, ...],
    ) -> Choice:
        """Choose an action and a candidate; `Policy.choose` says how."""
        if len(processors) != len(approval):
            msg = f"expected an approval probability for each of {len(processors)} processors, got {len(approval)}"
            raise ValueError(msg)
        if not 0.0 <= risk <= 1.0:
            msg = f"expected a risk of 0 to 1, got {risk}"
            raise ValueError(msg)
        parameters = self._parameters
        tier: RiskTier = (
            "HIGH" if risk >= parameters.tier_high else "MEDIUM" if risk >= parameters.tier_medium else "LOW"
        )
        reasons = [
            Reason(
                code="risk_tier",
                detail=f"risk {risk:.4g}: {tier} (MEDIUM from {parameters.tier_medium:g}, HIGH from "
                f"{parameters.tier_high:g})",
            )
        ]
        amount = request.amount_minor
        earned = amount * parameters.margin_share - risk * (amount + parameters.chargeback_fee_minor)
        candidates, refused = weigh(amount, earned, processors, approval, self._fees)
        valued = rank(candidates)
        action: Action = "approve"
        if kind == "auth":
            action = self._act(request, risk, candidates, reasons)
        place, odds = self._pick(request, candidates, valued, action, degraded, reasons)
        exemption = self._exempt(request, now, reasons) if action == "approve" else None
        chosen = None if not candidates or action == "decline" else candidates[place]
        self._warn(candidates, chosen, reasons)
        shown = chosen or (candidates[0] if candidates else None)
        return Choice(
            action=action,
            index=None if chosen is None else chosen.index,
            processor=None if chosen is None else chosen.processor,
            approval_probability=None if shown is None else shown.probability,
            ranking=_ranking(candidates, odds, refused),
            risk_tier=tier,
            three_ds="challenge" if action == "challenge" else "none",
            exemption=exemption,
            reasons=tuple(reasons[:MOST_REASONS]),
        )

    def _act(self, request: Payment, risk: float, candidates: list[Candidate], reasons: list[Reason]) -> Action:
        """Settle the action of an auth request from its risk and the best approval probability."""
        parameters = self._parameters
        action: Action = "approve"
        code = None
        threshold = parameters.challenge_from
        if risk >= parameters.decline_from:
            action, code, threshold = "decline", "risk_decline", parameters.decline_from
        elif candidates and (best := max([one.probability for one in candidates])) < parameters.minimum_approval:
            detail = f"best approval probability {best:.4g} is below {parameters.minimum_approval:g}"
            reasons.append(Reason(code="low_approval", detail=detail))
            return "decline"
        elif risk >= parameters.review_from:
            action, code, threshold = "review", "risk_review", parameters.review_from
        elif risk >= parameters.challenge_from:
            if request.initiator == "merchant":
                action, code = "review", "customer_absent"
            elif request.uses_3ds:
                code = "already_authenticated"
            else:
                action, code = "challenge", "risk_challenge"
        if code is not None:
            reasons.append(Reason(code=code, detail=f"risk {risk:.4g} is at or above {threshold:g}"))
        return action

    def _pick(
        self,
        request: Payment,
        candidates: list[Candidate],
        valued: bool,
        action: Action,
        degraded: tuple[str, ...],
        reasons: list[Reason],
    ) -> tuple[int, list[float]]:
        """Return the chosen place in the ranking and every place's propensity."""
        if not candidates:
            reasons.append(Reason(code="no_candidate", detail="no candidate processor is eligible"))
            return 0, []
        best = candidates[0]
        share = self._parameters.exploration
        count = len(candidates)
        if share > 0.0 and count > 1 and not degraded and action != "decline":
            if valued:
                bound = BOUND * request.amount_minor * self._parameters.margin_share
                drawable = near([best.value - one.value for one in candidates], bound)
            else:
                drawable = near([best.probability - one.probability for one in candidates], BOUND)
            place = pick(draw_of(request.payment_id, request.attempt), drawable, share)
            odds = propensities(count, drawable, share)
        else:
            place, odds = 0, [1.0] + [0.0] * (count - 1)
        chosen = candidates[place]
        if place:
            code = "explored"
            detail = f"{chosen.processor} was drawn with propensity {odds[place]:.4g}; the best is {best.processor}"
        elif not valued:
            code = "highest_approval"
            detail = f"an approval leaves nothing under these parameters; {best.processor} has {best.probability:.4g}"
        elif count > 1 and candidates[1].value == best.value:
            code = "static_order"
            detail = f"{best.processor} and {candidates[1].processor} are equal at {best.value:.1f} minor units"
        else:
            code = "best_expected_value"
            detail = f"{best.processor}: {best.value:.1f} minor units at approval {best.probability:.4g}"
        reasons.append(Reason(code=code, detail=detail))
        return place, odds

    def _exempt(self, request: Payment, now: datetime, reasons: list[Reason]) -> str | None:
        """Name the exemption from strong customer authentication under which an approved payment may go."""
        book = self._rules.at(now.astimezone(UTC).date())
        countries = book.sca_countries
        if request.initiator == "merchant":
            # Where nobody has to authenticate there is nothing to be exempt from.
            if request.issuer_country not in countries:
                return None
            reasons.append(Reason(code="merchant_initiated", detail="the customer is not there to authenticate"))
            return "merchant_initiated"
        if request.uses_3ds:
            return None
        rule = book.low_value(request.currency)
        own = self._parameters.low_value_minor.get(request.currency)
        if rule is not None:
            below = rule.below_minor if own is None or own > rule.below_minor else own
            countries = rule.countries
            source = rule.bound.id
        elif own is not None:
            below, source = own, "policy parameters"
        else:
            return None
        if request.amount_minor >= below or request.issuer_country not in countries:
            return None
        # With the acquiring side abroad (one leg out) the duty to authenticate does not arise at all.
        if request.merchant_country is not None and request.merchant_country not in countries:
            return None
        detail = (
            f"{request.amount_minor} is below {below} {request.currency} minor units ({source}); the issuer may refuse"
        )
        reasons.append(Reason(code="low_value_exemption", detail=detail))
        return "low_value"

    def _warn(self, candidates: list[Candidate], chosen: Candidate | None, reasons: list[Reason]) -> None:
        if candidates and candidates[0].value < 0.0:
            detail = f"best expected value {candidates[0].value:.1f} minor units; the action follows risk alone"
            reasons.append(Reason(code="negative_expected_value", detail=detail))
        if chosen is not None and not self._fees.knows(chosen.processor):
            detail = f"{chosen.processor} has no fee schedule; the dearest known was assumed"
            reasons.append(Reason(code="fees_unknown", detail=detail))


def _ranking(
    candidates: list[Candidate], odds: list[float], refused: list[tuple[str, str]]
) -> tuple[RankedProcessor, ...]:
    ranked = [
        RankedProcessor(
            processor=one.processor,
            approval_probability=one.probability,
            cost_minor=round(one.cost),
            expected_value_minor=one.value,
            propensity=odds[place],
            eligible=True,
        )
        for place, one in enumerate(candidates)
    ]
    for processor, code in refused:
        ranked.append(
            RankedProcessor(
                processor=processor,
                approval_probability=0.0,
                cost_minor=0,
                expected_value_minor=0.0,
                propensity=0.0,
                eligible=False,
                reasons=(code,),
            )
        )
    return tuple(ranked)
