"""An answer made of a request and of what the policy is told: pure, so that a decision can be made again.

A decision under way and the replay of one come through here, with the same numbers and the same policy; what differs is
where the numbers are from.

This module must not know models, stores or journals.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from contracts.decision import Decision, Reason, RetryDecision
from contracts.inputs import PolicyInputs, Variant
from contracts.payment import Payment, RetryRequest
from features.clock import moment
from service.ledger import entries
from service.models.bundle import Bundle
from service.policy.choice import Choice
from service.policy.retry import Permit, RetryChoice

MOST_REASONS: Final = 5
MOST_TURNS: Final = 3
"""How often the policy is asked again because an attempt of another question used up what it counted on."""

BLIND: Final = ("features:store_timeout", "features:store_unavailable")
UNKEPT: Final = ("ledger:store_timeout", "ledger:store_unavailable")
"""What an answer says when it went out before the store had taken it."""

GIVEN_UP: Final = Reason(
    code="attempt_limit",
    detail=f"other attempts of this card at this merchant used up a network's limit {MOST_TURNS + 1} times meanwhile",
)
UNCOUNTED: Final = Reason(
    code="ledger_unknown",
    detail="the attempts of this card could not be counted, and the question names none: ask again when the store is back",
)


class Tail(NamedTuple):
    """What an answer carries that neither the request nor the policy says."""

    decision_id: str
    degraded: tuple[str, ...]
    latency_us: int


def told(degraded: Iterable[str]) -> tuple[str, ...]:
    """Return what the policy is told of `degraded`: what the estimates had to do without, not what came of writing."""
    return tuple([code for code in degraded if code != "journal" and code not in UNKEPT])


def choose(
    bundle: Bundle,
    kind: Literal["auth", "routing"],
    request: Payment,
    inputs: PolicyInputs,
    degraded: Iterable[str],
    *,
    given_up: bool = False,
) -> Choice:
    """Return the policy's choice; one that is `given_up` sends nothing, whatever the policy says."""
    choice = bundle.policy.decide(request, inputs, kind=kind, degraded=told(degraded))
    if not given_up:
        return choice
    return msgspec.structs.replace(
        choice,
        action="decline",
        index=None,
        processor=None,
        three_ds="none",
        exemption=None,
        liability=None,
        credential=None,
        reservation=None,
        reasons=(GIVEN_UP, *choice.reasons),
    )


def decision(
    bundle: Bundle, request: Payment, inputs: PolicyInputs, choice: Choice, moved: Reason | None, tail: Tail
) -> Decision:
    """Return the answer to an auth or routing request."""
    assert inputs.risk is not None
    return Decision(
        decision_id=tail.decision_id,
        payment_id=request.payment_id,
        attempt=request.attempt,
        action=choice.action,
        approval_probability=choice.approval_probability or 0.0,
        risk_score=inputs.risk,
        risk_tier=choice.risk_tier,
        processor=choice.processor,
        ranking=choice.ranking,
        three_ds=choice.three_ds,
        exemption=choice.exemption,
        reasons=_with(choice.reasons, moved),
        degraded=tail.degraded,
        bundle_version=bundle.manifest.version,
        policy_version=bundle.policy.policy_version,
        latency_us=tail.latency_us,
        liability=choice.liability,
        credential=choice.credential,
    )


def permit(bundle: Bundle, request: RetryRequest, moment_us: int, ledger: bytes | None) -> Permit:
    """Return what a decline permits."""
    return bundle.policy.permit(request, moment(moment_us), entries(ledger))


def plan(
    bundle: Bundle,
    request: RetryRequest,
    permitted: Permit,
    inputs: PolicyInputs,
    degraded: Iterable[str],
    *,
    given_up: bool = False,
) -> RetryChoice:
    """Return the retry that the policy plans; none when it is `given_up`, or when nobody can count the card's attempts."""
    choice = bundle.policy.plan(
        request,
        permitted,
        inputs.processors,
        inputs.waits,
        inputs.success,
        moment(inputs.moment_us),
        standings=inputs.standings,
        ledger=entries(inputs.ledger),
        modes=inputs.variants,
    )
    if given_up:
        return _stopped(choice, GIVEN_UP)
    limited = choice.reservation is not None and bool(choice.reservation[1])
    if limited and not request.previous_attempts and any(code in UNKEPT for code in degraded):
        return _stopped(choice, UNCOUNTED)
    return choice


def retry_decision(
    bundle: Bundle, request: RetryRequest, choice: RetryChoice, moved: Reason | None, tail: Tail
) -> RetryDecision:
    """Return the answer to a retry request."""
    return RetryDecision(
        decision_id=tail.decision_id,
        payment_id=request.payment_id,
        attempt=request.attempt,
        should_retry=choice.should_retry,
        verdict=choice.verdict,
        retry_at=choice.retry_at,
        wait_seconds=choice.wait_seconds,
        processor=choice.processor,
        success_probability=choice.success_probability,
        expected_value_minor=choice.expected_value_minor,
        rules=choice.rules,
        quota=choice.quota,
        reasons=_with(choice.reasons, moved),
        degraded=tail.degraded,
        bundle_version=bundle.manifest.version,
        policy_version=bundle.policy.policy_version,
        latency_us=tail.latency_us,
        authentication=choice.authentication,
        credential=choice.credential,
    )


def way(request: Payment, variants: Sequence[Variant], sent: Decision | Choice) -> int:
    """Return the place of the way in which a payment is sent; 0, as it was asked about, for one that was not estimated."""
    authentication = "three_ds" if sent.three_ds == "challenge" or request.uses_3ds else "none"
    for place, variant in enumerate(variants):
        if variant.authentication == authentication and variant.credential == sent.credential:
            return place
    return 0


def wait(inputs: PolicyInputs, sent: RetryDecision | RetryChoice) -> int | None:
    """Return the place of a planned retry's way and wait among those that were estimated; None for one that was not."""
    if sent.wait_seconds not in inputs.waits:
        return None
    for place, variant in enumerate(inputs.variants):
        if (variant.authentication, variant.credential) == (sent.authentication, sent.credential):
            return place * len(inputs.waits) + inputs.waits.index(sent.wait_seconds)
    return None


def shown(processors: Sequence[str], choice: Choice) -> int | None:
    """Return the place of the candidate whose estimate an answer shows: the chosen one, else the best; None without any."""
    if choice.index is not None:
        return choice.index
    best = choice.ranking[0] if choice.ranking else None
    return None if best is None or not best.eligible else processors.index(best.processor)


def expected(request: Payment, inputs: PolicyInputs | None, answer: Decision | RetryDecision) -> float | None:
    """Return the probability that the model gave to what an answer sends, before any correction; None if it sends nothing.

    An estimate that had to do without the state or without the model says nothing of how right the model is.
    """
    degraded = answer.degraded
    blind = bool(degraded) and any(code.startswith(("features:", "model:")) for code in degraded)
    if inputs is None or blind or answer.processor not in inputs.processors:
        return None
    column = inputs.processors.index(answer.processor)
    if isinstance(answer, Decision):
        return inputs.approval[way(request, inputs.variants, answer)][column]
    place = wait(inputs, answer)
    return None if place is None else inputs.success[place][column]


def _stopped(choice: RetryChoice, why: Reason) -> RetryChoice:
    if not choice.should_retry:
        return choice
    return msgspec.structs.replace(
        choice,
        should_retry=False,
        verdict="stop",
        retry_at=None,
        wait_seconds=None,
        processor=None,
        authentication="none",
        credential=None,
        reservation=None,
        reasons=(why, *choice.reasons),
    )


def _with(reasons: Sequence[Reason], moved: Reason | None) -> tuple[Reason, ...]:
    """Return at most `MOST_REASONS`; what moved the estimate is the last of them."""
    if moved is None:
        return tuple(reasons[:MOST_REASONS])
    return (*reasons[: MOST_REASONS - 1], moved)
