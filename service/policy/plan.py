"""Which permitted retry is worth most: over waits, processors and ways of sending.

This module must not know how probabilities came about, nor what a decline means.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from contracts.bundle import PolicyParameters
from contracts.decision import BoundRule, Quota, Reason, Verdict
from contracts.inputs import Authentication, Credential, Standing, Variant
from contracts.payment import RetryRequest
from features.clock import SECOND, micros
from service.ledger import Limit, attempt_id, used
from service.policy.fees import Fees
from service.policy.grid import Best, Block, Column, Retry, Row, likeliest_of, within
from service.policy.limits import Period, period_at
from service.policy.outlook import Outlook, Span
from service.policy.permit import Permit
from service.policy.terms import Agreements

MOST_REASONS: Final = 5
PRESENT_SECONDS: Final = 900
"""How long after a decline a customer is taken to be there to authenticate: the time that 3DS challenges are given."""

_MOST_SHIFT: Final = 50.0


class RetryChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The retry that was chosen, or why there is none.

    Without a retry, `success_probability` and `expected_value_minor` are those of the best permitted one, 0 if none
    was weighed. `quota` is of the moment of the retry, else of now. `reservation` is what a retry must be entered in the
    ledger with: its moment, microseconds, and the limits it may not break, less what the ledger does not know of.
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
    authentication: Authentication = "none"
    credential: Credential | None = None
    reservation: tuple[int, tuple[Limit, ...]] | None = None


Ordinary = Callable[..., tuple[Retry, Retry | None] | None]
"""Finds the best retry, and the next best, of an ordinary day; None where it cannot say (`service.policy.plan_native`)."""


class Planner:
    """Weighs retries for one bundle.

    Parameters
    ----------
    fees, agreements, outlook
        What attempts cost, what merchants want otherwise, what processors can do.
    named
        How rules call a network.
    best_of
        `service.policy.grid.best_of`, or its compiled twin.
    ordinary
        A kernel that is asked first, if there is one.
    """

    __slots__ = ("_agreements", "_best_of", "_fees", "_named", "_ordinary", "_outlook", "_parameters")

    def __init__(
        self,
        parameters: PolicyParameters,
        fees: Fees,
        agreements: Agreements,
        outlook: Outlook,
        named: Callable[[str], str],
        best_of: Best,
        ordinary: Ordinary | None,
    ) -> None:
        self._parameters = parameters
        self._best_of = best_of
        self._ordinary = ordinary
        self._fees = fees
        self._agreements = agreements
        self._outlook = outlook
        self._named = named

    def waits(self, permit: Permit) -> tuple[int, ...]:
        """Return the waits worth scoring under a permit, rising; none if nothing may be sent."""
        if permit.verdict == "authenticate":
            return (permit.earliest_seconds,)
        if permit.verdict is not None:
            return ()
        earliest, latest = permit.earliest_seconds, permit.latest_seconds
        later = [wait for wait in self._parameters.retry.waits_seconds if earliest < wait <= latest]
        return (earliest, *later)

    def modes(self, request: RetryRequest, permit: Permit) -> tuple[Variant, ...]:
        """Return the ways of sending the retry that are worth scoring, the first always.

        A customer who is still there, declined by the issuer without an authentication, may be asked for one.
        """
        first = Variant(permit.authentication, permit.credential)
        if (
            permit.verdict is None
            and permit.decline_class == "later"
            and permit.blame == "issuer"
            and permit.authentication == "none"
            and request.initiator != "merchant"
            and permit.earliest_seconds <= PRESENT_SECONDS
        ):
            return (first, Variant("three_ds", permit.credential))
        return (first,)

    def plan(
        self,
        request: RetryRequest,
        permit: Permit,
        processors: tuple[str, ...],
        waits: tuple[int, ...],
        probability: Sequence[Sequence[float]],
        now: datetime,
        standings: Sequence[Standing],
        modes: tuple[Variant, ...],
    ) -> RetryChoice:
        """Choose the permitted retry of the highest expected value; `Policy.plan` says how."""
        stepping_up = permit.verdict == "authenticate"
        if permit.verdict is not None and not stepping_up:
            return _without(permit, permit.verdict, 0.0, 0.0, None)
        modes = modes or (Variant(permit.authentication, permit.credential),)
        _check(processors, waits, modes, probability, standings)
        if self._ordinary is not None:
            found = self._ordinary(request, permit, processors, waits, modes, probability, micros(now), standings)
            if found is not None:
                return self._worth(request, permit, processors, *found, now)
        blocks = [
            self._block(request, permit, processors, waits, mode, probability[place * len(waits) :], now, standings)
            for place, mode in enumerate(modes)
        ]
        if not [block for block in blocks if block.columns]:
            detail = f"none of {len(processors)} candidates may be used after this decline"
            return _without(permit, "stop", 0.0, 0.0, Reason(code="no_candidate", detail=detail))
        away = _away(processors, blocks[0].columns)
        if away is not None:
            permit = msgspec.structs.replace(permit, reasons=(*permit.reasons, away))
        if stepping_up and not waits:
            return self._unscored(request, permit, processors, blocks[0], now)
        best, second = self._best_of(blocks, self._parameters.retry.minimum_probability)
        if best is None:
            return self._none(permit, *likeliest_of(blocks))
        return self._worth(request, permit, processors, best, second, now)

    def _worth(
        self,
        request: RetryRequest,
        permit: Permit,
        processors: tuple[str, ...],
        best: Retry,
        second: Retry | None,
        now: datetime,
    ) -> RetryChoice:
        """Plan the best retry, if it is worth anything."""
        least = self._parameters.retry.minimum_value_minor
        if not best.value > least:
            detail = (
                f"the best permitted retry ({processors[best.place]} in {best.wait} s) is worth {best.value:.1f} minor "
                f"units, not above {least:g}"
            )
            return _without(permit, "stop", best.p, best.value, Reason(code="below_minimum_value", detail=detail))
        return _chosen(request, permit, processors, best, now, _told(processors, best, second))

    def _block(
        self,
        request: RetryRequest,
        permit: Permit,
        processors: tuple[str, ...],
        waits: tuple[int, ...],
        mode: Variant,
        probability: Sequence[Sequence[float]],
        now: datetime,
        standings: Sequence[Standing],
    ) -> Block:
        """Put together candidates and waits of one way of sending."""
        asks = mode.authentication == "three_ds" and not request.uses_3ds
        reached = 1.0 - self._parameters.challenge_abandonment if asks else 1.0
        columns = self._columns(request, permit, processors, mode, now, standings, reached)
        latest = min(permit.latest_seconds, PRESENT_SECONDS) if asks else permit.latest_seconds
        return Block(mode, reached, columns, self._rows(permit, waits, probability, micros(now), latest))

    def _columns(
        self,
        request: RetryRequest,
        permit: Permit,
        processors: tuple[str, ...],
        mode: Variant,
        now: datetime,
        standings: Sequence[Standing],
        reached: float,
    ) -> list[Column]:
        """Keep the candidates that may be used in one way."""
        amount = request.amount_minor
        terms = self._agreements.of(request.merchant_id)
        margin = amount * terms.margin_share
        volumes = terms.volumes
        network = self._named(request.card_network)
        tariff = self._fees.tariff(network, request.issuer_country, request.merchant_country)
        three_ds = mode.authentication == "three_ds"
        asks = three_ds and not request.uses_3ds
        token = bool(request.is_network_token) if mode.credential is None else mode.credential == "network_token"
        elsewhere = permit.earliest_seconds if permit.cascade else permit.same_processor_seconds
        at = micros(now)
        limited = self._outlook.limited
        columns: list[Column] = []
        for place, processor in enumerate(processors):
            soonest = elsewhere
            if processor == request.decline.processor:
                if not permit.same_processor:
                    continue
                soonest = permit.same_processor_seconds
            known = processor in limited
            if known and not self._outlook.able(processor, request, network, now, token=token, three_ds=three_ds):
                continue
            fixed, share, failing = tariff.of(processor)
            approved = fixed + amount * share
            standing = standings[place] if standings else None
            volume = volumes.get(processor) if volumes else None
            if volume is not None and standing is not None:
                # What is missing of a promise is saved by an approval, as in `candidate.scale`.
                missing = volume.commit_minor - standing.month_minor
                approved -= volume.shortfall_share * max(0.0, min(amount, missing))
            excess, shift = (0.0, 0.0) if standing is None else (standing.excess, standing.shift)
            away: tuple[Span, ...] = ()
            if known or volume is not None or (standing is not None and standing.health != "up"):
                away, scheduled = self._outlook.away(processor, standing, volume, at)
                if scheduled:
                    # What fails in an outage that was announced says nothing of the time after it.
                    excess = 0.0
            if not -_MOST_SHIFT <= shift <= _MOST_SHIFT:
                shift = max(-_MOST_SHIFT, min(shift, _MOST_SHIFT))
            failed = failing + self._fees.three_ds(processor) / reached if asks else float(failing)
            columns.append(Column(place, soonest, margin - approved + failing, failed, excess, shift, away))
        return columns

    def _rows(
        self, permit: Permit, waits: tuple[int, ...], probability: Sequence[Sequence[float]], at: int, latest: int
    ) -> list[Row]:
        """Keep the waits that are permitted: after those of rules, with room under every limit."""
        dear = self._parameters.quota_value_minor
        periods = permit.periods
        earliest = permit.earliest_seconds
        rows: list[Row] = []
        for place, period in enumerate(periods):
            ends = periods[place + 1].begins if place + 1 < len(periods) else None
            # Under one set of rules the permit's earliest wait has seen to it that there is room.
            room = period.room_at() if len(periods) > 1 else 0
            held: list[Row] = []
            for wait, likely in zip(waits, probability, strict=False):
                moment = at + wait * SECOND
                if earliest <= wait <= latest and moment >= room and (ends is None or moment < ends):
                    held.append((wait, 0.0, likely))
            rows += _with_quota(held, period, at, dear) if dear and period.budgets else held
        return rows

    def _none(self, permit: Permit, p: float, value: float) -> RetryChoice:
        if p < 0.0:
            detail = "no permitted processor and wait were scored"
            return _without(permit, "stop", 0.0, 0.0, Reason(code="no_candidate", detail=detail))
        detail = f"the likeliest permitted retry has {p:.4g}, below {self._parameters.retry.minimum_probability:g}"
        return _without(permit, "stop", p, value, Reason(code="below_minimum_probability", detail=detail))

    def _unscored(
        self, request: RetryRequest, permit: Permit, processors: tuple[str, ...], block: Block, now: datetime
    ) -> RetryChoice:
        """Step up through the first candidate that is there: the issuer asked for it, whatever its chance."""
        wait = permit.earliest_seconds
        for column in block.columns:
            if not within(wait, column.away):
                best = Retry(0.0, 0.0, 0.0, wait, column.place, block.mode)
                detail = f"{processors[column.place]}, the first candidate: no chance was estimated"
                return _chosen(request, permit, processors, best, now, Reason(code="static_order", detail=detail))
        return self._none(permit, -1.0, 0.0)


def _away(processors: tuple[str, ...], columns: Sequence[Column]) -> Reason | None:
    """Name the candidates that are out now, and until when."""
    if not [column for column in columns if column.away]:
        return None
    out = [
        f"{processors[column.place]} for {max(span[1] for span in column.away)} s"
        for column in columns
        if column.away and within(0, column.away)
    ]
    return Reason(code="processor_away", detail=f"no candidate now: {', '.join(out)}") if out else None


def _check(
    processors: tuple[str, ...],
    waits: tuple[int, ...],
    modes: tuple[Variant, ...],
    probability: Sequence[Sequence[float]],
    standings: Sequence[Standing],
) -> None:
    if len(probability) != len(waits) * len(modes):
        msg = (
            f"expected a row of probabilities for each of {len(waits)} waits and {len(modes)} ways of sending, "
            f"got {len(probability)}"
        )
        raise ValueError(msg)
    if standings and len(standings) != len(processors):
        msg = f"expected a standing for each of {len(processors)} processors or none, got {len(standings)}"
        raise ValueError(msg)


def _with_quota(rows: list[Row], period: Period, at: int, dear: float) -> list[Row]:
    """Put into rows what the attempt of a quota is worth that a failure uses up, minor units.

    With `dear` what the last attempt is worth and n how many are left then, dear / n: one of the last is worth more than
    one of the first.
    """
    fewest = period.fewest([at + row[0] * SECOND for row in rows])
    return [(row[0], dear / left, row[2]) for row, left in zip(rows, fewest, strict=True)]


def _told(processors: tuple[str, ...], best: Retry, second: Retry | None) -> Reason:
    detail = f"{processors[best.place]} in {best.wait} s: {best.value:.1f} minor units at success {best.p:.4g}"
    if second is not None:
        detail += f"; next {processors[second.place]} in {second.wait} s: {second.value:.1f}"
        if second.value >= best.value and second.wait > best.wait:
            detail += ", but later"
    return Reason(code="best_expected_value", detail=detail)


def _chosen(
    request: RetryRequest, permit: Permit, processors: tuple[str, ...], best: Retry, now: datetime, why: Reason
) -> RetryChoice:
    moment = micros(now) + best.wait * SECOND
    period = period_at(permit.periods, moment)
    tightest = period.tightest(moment)
    verdict: Verdict = (
        "authenticate" if permit.verdict == "authenticate" else "retry_later" if best.wait else "retry_now"
    )
    rules = permit.rules
    if tightest is not None and tightest.rule.bound not in rules:
        rules = (*rules, tightest.rule.bound)
    return RetryChoice(
        should_retry=True,
        verdict=verdict,
        retry_at=now + timedelta(seconds=best.wait),
        wait_seconds=best.wait,
        processor=processors[best.place],
        success_probability=float(best.p),
        expected_value_minor=float(best.value),
        rules=rules,
        quota=None if tightest is None else tightest.quota(moment),
        reasons=_trimmed((*permit.reasons, why)),
        authentication=best.mode.authentication,
        credential=best.mode.credential,
        reservation=(moment, _reserved(request, permit, period, moment)),
    )


def _reserved(request: RetryRequest, permit: Permit, period: Period, moment: int) -> tuple[Limit, ...]:
    """Return the limits to reserve under: lower by what only the question knew, for the ledger cannot count that."""
    if not permit.outside:
        return period.limits
    ledger = permit.ledger
    own = attempt_id(request.payment_id, request.attempt + 1) if ledger else 0
    limits = []
    for budget in period.budgets:
        limit = budget.limit
        known = used(ledger, limit, moment, own) if ledger else 0
        limits.append(Limit(limit.window_us, budget.left(moment) + known, limit.amount_minor, limit.resets))
    return tuple(limits)


def _without(permit: Permit, verdict: Verdict, p: float, value: float, why: Reason | None) -> RetryChoice:
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
        reasons=_trimmed(permit.reasons if why is None else (*permit.reasons, why)),
    )


def _trimmed(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """Keep the first reason and the last ones."""
    return reasons if len(reasons) <= MOST_REASONS else (reasons[0], *reasons[1 - MOST_REASONS :])
