"""Auth and routing: which action, through which processor, and in which way.

This module must not know how probabilities came about, nor how an answer is sent.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

import msgspec

from contracts.bundle import PolicyParameters
from contracts.decision import Action, RankedProcessor, Reason, RiskTier
from contracts.inputs import Credential, Standing, Variant
from contracts.payment import Payment
from features.clock import micros
from service.ledger import Entry, Limit, attempt_id, used
from service.policy import rulebook, words
from service.policy.candidate import Candidate
from service.policy.exemption import Duty, Exemptions, Said
from service.policy.exploration import draw_of, pick
from service.policy.fees import Fees
from service.policy.lineup import Lineup, Weigher, odds_of
from service.policy.modes import Earned, Ways, ways_of
from service.policy.ranking import ranking
from service.policy.rules import Rules
from service.policy.terms import Agreements, Terms

MOST_REASONS: Final = 5
Kind = Literal["auth", "routing"]


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy chose.

    `index` is the chosen candidate's place among the processors asked about; None if there was none, or if the
    payment is declined. `ranking` is sorted best first, ineligible ones last; an explored choice is not its first.
    `approval_probability` is the chosen candidate's, else the best one's, else None. `reservation` holds the limits under
    which the attempt is to be reserved in the ledger of its card; None when nothing is sent, or nothing limits it.
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
    liability: Literal["issuer", "merchant"] | None
    credential: Credential | None
    reservation: tuple[Limit, ...] | None


class _Held(NamedTuple):
    """What holds for a question before anything is weighed.

    `challenge` is whether a customer is there to be challenged, `demanded` whether the risk demands it.
    """

    network: str
    terms: Terms
    tier: RiskTier
    binding: tuple[rulebook.Limit, ...]
    duty: Duty
    challenge: bool
    demanded: bool
    ways: Ways


class Chooser:
    """Chooses for one bundle: everything but the question itself is settled when it is built."""

    __slots__ = ("_agreements", "_exemptions", "_fees", "_parameters", "_rules", "_weigher")

    def __init__(
        self, parameters: PolicyParameters, fees: Fees, rules: Rules, agreements: Agreements, weigher: Weigher
    ) -> None:
        self._parameters = parameters
        self._fees = fees
        self._rules = rules
        self._agreements = agreements
        self._weigher = weigher
        self._exemptions = Exemptions(parameters.low_value_minor)

    def choose(
        self,
        request: Payment,
        processors: tuple[str, ...],
        approval: Sequence[Sequence[float]],
        risk: float,
        *,
        kind: Kind,
        now: datetime,
        degraded: tuple[str, ...],
        variants: tuple[Variant, ...],
        standings: Sequence[Standing],
        ledger: Sequence[Entry],
    ) -> Choice:
        """Choose an action and a candidate; `Policy.choose` says how."""
        _check(processors, approval, variants, standings)
        held = self._hold(request, variants, risk, kind, now, ledger)
        network, terms, tier, binding, duty, challenge, demanded, ways = held
        said: list[Said] = [(*words.RISK_TIER, (risk, tier, terms.tiers))]
        lineup = self._weigher.lineup(request, network, processors, approval, standings, terms, ways, now)
        action: Action = "approve"
        if _spent(binding, request, ledger, now, said):
            action = "decline"
        elif kind == "auth":
            action = _judge(request, risk, terms, lineup, said)
        odds, chosen = self._draw(request, lineup, action, degraded, terms, said)
        sent = chosen is not None and action != "decline"
        best = None if chosen is None else chosen.best
        challenged = best is not None and sent and best.way.challenge
        if challenged and action == "approve":
            action = "challenge"
        if chosen is not None and sent:
            action = _tell(action, chosen, duty, demanded, challenge, risk, terms, said)
        self._warn(lineup, chosen if sent else None, said)
        return Choice(
            action=action,
            index=chosen.index if chosen is not None and sent else None,
            processor=chosen.processor if chosen is not None and sent else None,
            approval_probability=None if best is None else best.probability,
            ranking=ranking(lineup, odds),
            risk_tier=tier,
            three_ds="challenge" if challenged else "none",
            exemption=duty.exemption if sent and not challenged else None,
            reasons=tuple([Reason(code=code, detail=text % values) for code, text, values in said[:MOST_REASONS]]),
            liability=None if best is None or not sent else "issuer" if best.way.secure else "merchant",
            credential=best.way.credential if best is not None and sent else None,
            reservation=tuple([limit.of(request.amount_minor) for limit in binding]) if binding and sent else None,
        )

    def needed(
        self,
        request: Payment,
        processors: tuple[str, ...],
        variants: tuple[Variant, ...],
        risk: float,
        *,
        kind: Kind,
        now: datetime,
        ledger: Sequence[Entry],
    ) -> tuple[Variant, ...]:
        """Return the variants whose estimates a choice would look at; `Policy.needed` says how."""
        ways = self._hold(request, variants, risk, kind, now, ledger).ways
        weighed = {way.variant for way in ways.allowed}
        if ways.must and not self._weigher.authenticates(processors):
            # Where a candidate cannot do what must be, what was asked may have to do.
            weighed.update([way.variant for way in ways.asked])
        if len(weighed) == len(variants):
            return variants
        return tuple([variant for place, variant in enumerate(variants) if place in weighed])

    def _hold(
        self,
        request: Payment,
        variants: tuple[Variant, ...],
        risk: float,
        kind: Kind,
        now: datetime,
        ledger: Sequence[Entry],
    ) -> "_Held":
        """Say what holds before anything is weighed."""
        if not 0.0 <= risk <= 1.0:
            msg = f"expected a risk of 0 to 1, got {risk}"
            raise ValueError(msg)
        book = self._rules.at(now.astimezone(UTC).date())
        network = book.network(request.card_network)
        terms = self._agreements.of(request.merchant_id)
        tier: RiskTier = "HIGH" if risk >= terms.tier_high else "MEDIUM" if risk >= terms.tier_medium else "LOW"
        duty = self._exemptions.of(request, book.sca, terms, tier == "LOW", ledger)
        challenge = kind == "auth" and not request.uses_3ds and request.initiator != "merchant"
        demanded = challenge and terms.challenge_from <= risk < min(terms.review_from, terms.decline_from)
        must = demanded or duty.required
        earned = self._earned(request.amount_minor, risk, terms)
        # Risk is an estimate, and a payer who does not come back from a challenge is lost for certain.
        pays = earned.passing * earned.secure - earned.bare >= self._parameters.challenge_gain * earned.secure
        ways = ways_of(
            request,
            variants,
            challenge=challenge and (must or pays),
            must=must,
            exempt=duty.exemption is not None,
            earned=earned,
        )
        return _Held(network, terms, tier, _binding(book, network, request), duty, challenge, demanded, ways)

    def _earned(self, amount: int, risk: float, terms: Terms) -> Earned:
        """Return what an approval earns before fees; after an authentication a fraud is the issuer's loss.

        Of honest payers some do not come back from a challenge, of frauds most do not pass it.
        """
        parameters = self._parameters
        margin = amount * terms.margin_share
        honest = (1.0 - risk) * (1.0 - parameters.challenge_abandonment)
        return Earned(
            margin - risk * (amount + parameters.chargeback_fee_minor),
            margin,
            honest + risk * (1.0 - parameters.challenge_fraud_stopped),
        )

    def _draw(
        self,
        request: Payment,
        lineup: Lineup,
        action: Action,
        degraded: tuple[str, ...],
        terms: Terms,
        said: list[Said],
    ) -> tuple[list[float], Candidate | None]:
        """Return every running candidate's propensity, and the one that is drawn."""
        running = lineup.running
        if not running:
            said.append((*words.NO_CANDIDATE, (_count(lineup),)))
            return [], None
        if lineup.forced:
            said.append((*words.ALL_INELIGIBLE, (running[0].processor, ", ".join(running[0].codes))))
        parameters = self._parameters
        if action == "decline":
            odds = [1.0] + [0.0] * (len(running) - 1)
        else:
            odds = odds_of(
                lineup,
                request.amount_minor * terms.margin_share,
                compare=not degraded,
                floor=parameters.exploration_floor,
                total=parameters.exploration,
                trial_share=parameters.probe_share,
            )
        place = pick(draw_of(request.payment_id, request.attempt), odds) if odds[0] < 1.0 else 0
        chosen = running[place]
        _explain(running, place, odds, said)
        return odds, chosen

    def _warn(self, lineup: Lineup, chosen: Candidate | None, said: list[Said]) -> None:
        running = lineup.running
        if running and running[0].best.value < 0.0:
            said.append((*words.NEGATIVE_VALUE, (running[0].best.value,)))
        if chosen is not None and not self._fees.knows(chosen.processor):
            said.append((*words.FEES_UNKNOWN, (chosen.processor,)))


def _check(
    processors: tuple[str, ...],
    approval: Sequence[Sequence[float]],
    variants: tuple[Variant, ...],
    standings: Sequence[Standing],
) -> None:
    if len(approval) != len(variants):
        msg = f"expected a row of approval probabilities for each of {len(variants)} variants, got {len(approval)}"
        raise ValueError(msg)
    for row in approval:
        if len(row) != len(processors):
            msg = f"expected an approval probability for each of {len(processors)} processors, got {len(row)}"
            raise ValueError(msg)
    if standings and len(standings) != len(processors):
        msg = f"expected a standing for each of {len(processors)} processors or none, got {len(standings)}"
        raise ValueError(msg)


def _binding(book: rulebook.RuleBook, network: str, request: Payment) -> tuple[rulebook.Limit, ...]:
    initiator: rulebook.Initiator = "merchant" if request.initiator == "merchant" else "customer"
    return book.binding(network, request.issuer_country, initiator)


def _spent(
    binding: tuple[rulebook.Limit, ...], request: Payment, ledger: Sequence[Entry], now: datetime, said: list[Said]
) -> bool:
    """Say whether an attempt limit is used up; the attempt asked about is not counted."""
    for limit in binding:
        if len(ledger) < limit.limit:
            continue
        own = attempt_id(request.payment_id, request.attempt)
        count = used(ledger, limit.of(request.amount_minor), micros(now), own)
        if count >= limit.limit:
            said.append((*words.ATTEMPT_LIMIT, (count, limit.limit, limit.window_seconds, limit.bound.id)))
            return True
    return False


def _judge(request: Payment, risk: float, terms: Terms, lineup: Lineup, said: list[Said]) -> Action:
    """Settle what risk and the best approval probability demand of an auth request, but for a challenge."""
    if risk >= terms.decline_from:
        said.append((*words.RISK_DECLINE, (risk, terms.decline_from)))
        return "decline"
    if lineup.running:
        # A processor in trouble says nothing of the payment: that an issuer would approve it is enough.
        best = max([one.best.unbroken for one in lineup.running])
        if best < terms.minimum_approval:
            said.append((*words.LOW_APPROVAL, (best, terms.minimum_approval)))
            return "decline"
    if risk >= terms.review_from:
        said.append((*words.RISK_REVIEW, (risk, terms.review_from)))
        return "review"
    if risk >= terms.challenge_from:
        if request.initiator == "merchant":
            said.append((*words.CUSTOMER_ABSENT, (risk, terms.challenge_from)))
            return "review"
        if request.uses_3ds:
            said.append((*words.ALREADY_AUTHENTICATED, (risk, terms.challenge_from)))
    return "approve"


def _tell(
    action: Action,
    chosen: Candidate,
    duty: Duty,
    demanded: bool,
    challenge: bool,
    risk: float,
    terms: Terms,
    said: list[Said],
) -> Action:
    """Give the reasons for the way of sending; return the action, which is a review where a challenge is demanded in vain."""
    way = chosen.best.way
    if demanded:
        if not way.challenge:
            said.insert(1, (*words.UNSUPPORTED, (risk, terms.challenge_from, chosen.processor)))
            return "review"
        said.insert(1, (*words.RISK_CHALLENGE, (risk, terms.challenge_from)))
    if duty.required and duty.said is not None:
        said.append(duty.said)
        if not way.challenge:
            told = words.SENT_WITHOUT if challenge else words.SENT_AS_ASKED
            said.append((*told, (chosen.processor if challenge else "routing",)))
    elif way.challenge:
        others = [one.value for one in chosen.ways if not one.way.challenge]
        if others and not demanded:
            said.append((*words.CHALLENGE_PAYS, (chosen.best.value, max(others))))
    elif duty.said is not None:
        said.append(duty.said)
    return action


def _explain(running: list[Candidate], place: int, odds: list[float], said: list[Said]) -> None:
    """Give the reason why a candidate was chosen."""
    chosen, best = running[place], running[0]
    if place:
        if chosen.trial:
            said.append((*words.PROBED, (chosen.processor, odds[place], best.processor)))
        else:
            said.append((*words.EXPLORED, (chosen.processor, odds[place], best.processor)))
    elif best.best.order[0]:
        said.append((*words.HIGHEST_APPROVAL, (best.processor, best.best.probability)))
    elif len(running) > 1 and running[1].best.value == best.best.value and running[1].best.order[0] == 0:
        said.append((*words.STATIC_ORDER, (best.processor, running[1].processor, best.best.value)))
    else:
        said.append((*words.BEST_VALUE, (best.processor, best.best.value, best.best.probability)))


def _count(lineup: Lineup) -> int:
    return len(lineup.out) + len(lineup.refused)
