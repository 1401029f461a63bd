"""Retry: what a decline permits, and which permitted retry is worth most.

This module must not know how probabilities came about, nor how an answer is sent.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from contracts.bundle import PolicyParameters
from contracts.decision import BoundRule, Quota, Reason, Verdict
from contracts.payment import RetryRequest
from service.policy.fees import Fees
from service.policy.rule import Blame, DeclineClass, Treated
from service.policy.rulebook import Initiator, RuleBook
from service.policy.rules import Rules

MOST_REASONS: Final = 5
_SETTLED: Final[dict[Treated, Verdict]] = {
    "stop": "stop",
    "fix_data": "fix_data",
    "authenticate": "authenticate",
    "verify_first": "verify_first",
}
"""Treatments that are a verdict already; `schedule` and `retry` still need a plan."""


_Column = tuple[int, int, float, float]
"""Index, soonest wait, gain of a success over a failure, cost of a failure."""


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """What a decline permits.

    `verdict` is settled (no retry of the same payment), or None: then a retry may be planned from `earliest_seconds`
    up to `latest_seconds` from now, through the processor that declined only if `same_processor` and from
    `same_processor_seconds`, through another from `earliest_seconds` if `cascade`, else from
    `same_processor_seconds` too. `blame` says whose decline it was.
    """

    decline_class: DeclineClass
    blame: Blame
    verdict: Verdict | None
    earliest_seconds: int
    same_processor_seconds: int
    latest_seconds: int
    cascade: bool
    same_processor: bool
    rules: tuple[BoundRule, ...]
    quota: Quota | None
    reasons: tuple[Reason, ...]


class RetryChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The retry that was chosen, or why there is none.

    Without a retry, `success_probability` and `expected_value_minor` are those of the best permitted one, 0 if none
    was weighed.
    """

    should_retry: bool
    verdict: Verdict
    retry_at: datetime | None
    wait_seconds: int | None
    processor: str | None
    success_probability: float
    expected_value_minor: float
    rules: tuple[BoundRule, ...]
    quota: Quota | None
    reasons: tuple[Reason, ...]


class Retrier:
    """Judges declines for one bundle."""

    __slots__ = ("_fees", "_parameters", "_rules")

    def __init__(self, parameters: PolicyParameters, fees: Fees, rules: Rules) -> None:
        self._parameters = parameters
        self._fees = fees
        self._rules = rules

    def permit(self, request: RetryRequest, now: datetime) -> Permit:
        """Say what the rules permit after a decline; `Policy.permit` says how."""
        book = self._rules.at(now.astimezone(UTC).date())
        decline = request.decline
        network = book.network(request.card_network)
        initiator: Initiator = "merchant" if request.initiator == "merchant" else "customer"
        reading = book.read(
            network,
            processor=decline.processor,
            code=decline.response_code,
            advice=decline.advice_code,
            reason=decline.decline_reason,
            country=request.issuer_country,
            initiator=initiator,
        )
        if reading is None:
            return _unruled()
        treatment = book.treatment(reading.decline_class, initiator)
        since = 0 if decline.declined_at is None else max(0, int((now - decline.declined_at).total_seconds()))
        ruled = max(0, reading.wait_seconds - since)
        same = max(ruled, treatment.wait_seconds - since)
        cascade = treatment.cascade if reading.cascade is None else reading.cascade
        earliest = ruled if cascade else same
        latest = max(0, self._parameters.retry.horizon_seconds - _elapsed(request, now, since))
        if treatment.within_seconds is not None:
            latest = min(latest, max(treatment.within_seconds, same))
        quota, limit = _quota(book, network, request, initiator, now)
        verdict = _SETTLED.get(treatment.verdict)
        reasons = [
            Reason(
                code=f"class_{reading.decline_class}",
                detail=f"{_said(request)}: {reading.decline_class}, blame {reading.blame} ({reading.rules[0].id})",
            )
        ]
        if decline.response_code is None and decline.decline_reason is None and decline.advice_code is None:
            reasons.append(Reason(code="decline_unstated", detail="no response code, advice or reason was given"))
        rules = [*reading.rules, treatment.bound]
        if limit is not None and quota is not None:
            rules.append(limit)
            if quota.used >= quota.limit:
                verdict = "stop"
                detail = f"{quota.used} of {quota.limit} attempts in {quota.window_seconds} s are used ({limit.id})"
                reasons.insert(0, Reason(code="quota_exhausted", detail=detail))
        if verdict is None and earliest > latest:
            verdict = "stop"
            detail = f"the earliest retry, in {earliest} s, lies past the horizon, in {latest} s"
            reasons.append(Reason(code="beyond_horizon", detail=detail))
        if ruled:
            reasons.append(Reason(code="rule_wait", detail=f"{ruled} s of {reading.wait_seconds} s are still to wait"))
        return Permit(
            decline_class=reading.decline_class,
            blame=reading.blame,
            verdict=verdict,
            earliest_seconds=earliest,
            same_processor_seconds=same,
            latest_seconds=latest,
            cascade=cascade and verdict is None,
            same_processor=reading.same_processor and verdict is None,
            rules=tuple(rules),
            quota=quota,
            reasons=tuple(reasons[:MOST_REASONS]),
        )

    def waits(self, permit: Permit) -> tuple[int, ...]:
        """Return the waits worth scoring under a permit, rising; none if its verdict is settled."""
        if permit.verdict is not None:
            return ()
        earliest, latest = permit.earliest_seconds, permit.latest_seconds
        later = [wait for wait in self._parameters.retry.waits_seconds if earliest < wait <= latest]
        return (earliest, *later)

    def plan(
        self,
        request: RetryRequest,
        permit: Permit,
        processors: tuple[str, ...],
        waits: tuple[int, ...],
        probability: Sequence[Sequence[float]],
        now: datetime,
    ) -> RetryChoice:
        """Choose the permitted retry of the highest expected value; `Policy.plan` says how."""
        if permit.verdict is not None:
            return _without(permit, permit.verdict, 0.0, 0.0, None)
        if len(probability) != len(waits):
            msg = f"expected a row of probabilities for each of {len(waits)} waits, got {len(probability)}"
            raise ValueError(msg)
        rows = self._columns(request, permit, processors)
        if not rows:
            detail = f"none of {len(processors)} candidates may be used after this decline"
            return _without(permit, "stop", 0.0, 0.0, Reason(code="no_candidate", detail=detail))
        best, likeliest = self._best(permit, rows, waits, probability)
        if best is None:
            return self._too_unlikely(permit, likeliest)
        value, p, wait, index = best
        if not value >= self._parameters.retry.minimum_value_minor:
            detail = (
                f"the best permitted retry ({processors[index]} in {wait} s) is worth {value:.1f} minor units, "
                f"below {self._parameters.retry.minimum_value_minor:g}"
            )
            return _without(permit, "stop", p, value, Reason(code="below_minimum_value", detail=detail))
        detail = f"{processors[index]} in {wait} s: {value:.1f} minor units at success {p:.4g}"
        reasons = (*permit.reasons, Reason(code="best_expected_value", detail=detail))
        return RetryChoice(
            should_retry=True,
            verdict="retry_later" if wait else "retry_now",
            retry_at=now + timedelta(seconds=wait),
            wait_seconds=wait,
            processor=processors[index],
            success_probability=float(p),
            expected_value_minor=float(value),
            rules=permit.rules,
            quota=permit.quota,
            reasons=reasons[-MOST_REASONS:],
        )

    def _columns(self, request: RetryRequest, permit: Permit, processors: tuple[str, ...]) -> list[_Column]:
        """Keep the candidates that may be used."""
        amount = request.amount_minor
        margin = amount * self._parameters.margin_share
        elsewhere = permit.earliest_seconds if permit.cascade else permit.same_processor_seconds
        columns: list[_Column] = []
        for index, processor in enumerate(processors):
            if processor == request.decline.processor:
                if not permit.same_processor:
                    continue
                soonest = permit.same_processor_seconds
            else:
                soonest = elsewhere
            fixed, share, failed = self._fees.of(processor)
            columns.append((index, soonest, margin - fixed - amount * share + failed, float(failed)))
        return columns

    def _best(
        self, permit: Permit, columns: list[_Column], waits: tuple[int, ...], probability: Sequence[Sequence[float]]
    ) -> tuple[tuple[float, float, int, int] | None, tuple[float, float]]:
        """Return (value, probability, wait, index) of the best retry that is likely enough; and, of the likeliest,
        probability and value.
        """
        least = self._parameters.retry.minimum_probability
        earliest, latest = permit.earliest_seconds, permit.latest_seconds
        best: tuple[float, float, int, int] | None = None
        most, its_value = -1.0, 0.0
        for wait, row in zip(waits, probability, strict=True):
            if not earliest <= wait <= latest:
                continue
            for index, soonest, gain, failed in columns:
                p = row[index]
                if wait < soonest or not p >= 0.0:
                    continue
                value = p * gain - failed
                if p > most:
                    most, its_value = p, value
                # A tie goes to the likelier, then to the sooner, then to the static order.
                if p >= least and (best is None or value > best[0] or (value == best[0] and p > best[1])):
                    best = (value, p, wait, index)
        return best, (most, its_value)

    def _too_unlikely(self, permit: Permit, likeliest: tuple[float, float]) -> RetryChoice:
        p, value = likeliest
        if p < 0.0:
            detail = "no permitted processor and wait were scored"
            return _without(permit, "stop", 0.0, 0.0, Reason(code="no_candidate", detail=detail))
        detail = f"the likeliest permitted retry has {p:.4g}, below {self._parameters.retry.minimum_probability:g}"
        return _without(permit, "stop", p, value, Reason(code="below_minimum_probability", detail=detail))


def _said(request: RetryRequest) -> str:
    decline = request.decline
    said = [request.card_network]
    if decline.response_code is not None:
        said.append(f"code {decline.response_code}")
    if decline.advice_code is not None:
        said.append(f"advice {decline.advice_code}")
    if decline.decline_reason is not None:
        said.append(f"reason {decline.decline_reason}")
    return " ".join(said)


def _elapsed(request: RetryRequest, now: datetime, since: int) -> int:
    """Return the seconds since the first attempt that is known."""
    if not request.previous_attempts:
        return since
    first = min([attempt.occurred_at for attempt in request.previous_attempts])
    return max(since, int((now - first).total_seconds()))


def _quota(
    book: RuleBook, network: str, request: RetryRequest, initiator: Initiator, now: datetime
) -> tuple[Quota | None, BoundRule | None]:
    """Count failed attempts against each limit of the network; return the one that leaves fewest.

    Every attempt that did not end in an approval counts, an error or a timeout too: it may have reached the network.
    """
    quota, bound, fewest = None, None, 0
    for limit in book.limits(network):
        if limit.initiator is not None and limit.initiator != initiator:
            continue
        if limit.countries is not None and request.issuer_country not in limit.countries:
            continue
        start = now - timedelta(seconds=limit.window_seconds)
        if limit.resets_on_approval:
            for attempt in request.previous_attempts:
                if attempt.status == "approved" and attempt.occurred_at > start:
                    start = attempt.occurred_at
        declined_at = request.decline.declined_at
        used = 1 if declined_at is None or declined_at > start else 0
        for attempt in request.previous_attempts:
            if attempt.status != "approved" and attempt.occurred_at > start:
                used += 1
        left = limit.limit - used
        if quota is None or left < fewest:
            fewest = left
            bound = limit.bound
            quota = Quota(used=used, limit=limit.limit, window_seconds=limit.window_seconds)
    return quota, bound


def _unruled() -> Permit:
    return Permit(
        decline_class="never",
        blame="unknown",
        verdict="stop",
        earliest_seconds=0,
        same_processor_seconds=0,
        latest_seconds=0,
        cascade=False,
        same_processor=False,
        rules=(),
        quota=None,
        reasons=(Reason(code="no_rule", detail="no rule in force speaks of this decline"),),
    )


def _without(permit: Permit, verdict: Verdict, p: float, value: float, why: Reason | None) -> RetryChoice:
    reasons = permit.reasons if why is None else (*permit.reasons, why)
    return RetryChoice(
        should_retry=False,
        verdict=verdict,
        retry_at=None,
        wait_seconds=None,
        processor=None,
        success_probability=float(p),
        expected_value_minor=float(value),
        rules=permit.rules,
        quota=permit.quota,
        reasons=reasons[-MOST_REASONS:],
    )
