"""What a decline permits: its class and blame, the verdict if it is settled, and from when to when a retry may go.

This module must not know how likely a retry is, nor what it is worth.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

import msgspec

from contracts.decision import BoundRule, Quota, Reason, Verdict
from contracts.inputs import Authentication, Credential
from contracts.payment import RetryRequest
from features.clock import DAY, SECOND, micros, moment
from service.ledger import APPROVED, RESERVED, Entry, attempt_id
from service.policy.limits import Period, attempts_of, period_at, periods
from service.policy.rule import Blame, DeclineClass, Treated
from service.policy.rulebook import GRACE_US, MOST_KEPT, Initiator, Reading, RuleBook, Treatment
from service.policy.rules import Rules

_SETTLED: Final[dict[Treated, Verdict]] = {
    "stop": "stop",
    "fix_data": "fix_data",
    "authenticate": "authenticate",
    "verify_first": "verify_first",
}
"""Treatments that are a verdict already; `schedule` and `retry` still need a plan."""
_SENDS: Final[tuple[Verdict | None, ...]] = (None, "authenticate")
"""Verdicts of a permit after which something is sent."""
_MOST_DAYS: Final = 64
_LOOKED_FOR: Final = 40
"""The first attempt of a payment that the ledger knows is looked for among this many: more than any limit lets through."""


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """What a decline permits.

    Attributes
    ----------
    decline_class, blame
        What the decline means, and whose it was.
    verdict
        Settled, or None: then a retry may be planned. "authenticate" asks for one attempt with 3DS, now.
    earliest_seconds, latest_seconds
        From when to when a retry may go, seconds from now; from `same_processor_seconds` through the processor that
        declined, if `same_processor`; another one waits as long unless `cascade`.
    authentication, credential
        How it would be sent; a credential of None is the one that was asked about.
    rules, quota, reasons
        What bound this; `quota` is the limit that leaves fewest attempts now.
    periods
        What counts towards every limit, by the days on which limits change.
    ledger, outside
        What the ledger knew, and how many attempts the question named beside it.
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
    authentication: Authentication = "none"
    credential: Credential | None = None
    periods: tuple[Period, ...] = ()
    ledger: tuple[Entry, ...] = ()
    outside: int = 0


class _Opening(msgspec.Struct, frozen=True, gc=False):
    """What a decline means under the rules of a day, whichever payment it is of.

    Attributes
    ----------
    reading, treatment
        As the rule book has them.
    rules, reasons
        What an answer names and says first.
    """

    reading: Reading
    treatment: Treatment
    rules: tuple[BoundRule, ...]
    reasons: tuple[Reason, ...]


_Key = tuple[str, str, str | None, str | None, str | None, str, Initiator]
"""(network as it came in, processor, code, advice, reason, issuer's country, initiator) of a decline."""


class _Day(NamedTuple):
    """A UTC day and its rules.

    `openings` is what declines were found to mean under them, None for one that no rule speaks of; `later` the days up to
    one on which rules change.
    """

    first: date
    book: RuleBook
    openings: dict[_Key, _Opening | None]
    later: dict[int, tuple[tuple[date, RuleBook], ...]]


class Permits:
    """Says what declines permit under the rules of the day."""

    __slots__ = ("_days", "_furthest", "_horizon", "_rules")

    def __init__(self, rules: Rules, horizon_seconds: int, waits_seconds: tuple[int, ...]) -> None:
        self._rules = rules
        self._days: dict[int, _Day] = {}
        # A retry may be sent a little late, and is not to be late for the horizon.
        self._horizon = horizon_seconds - GRACE_US // SECOND
        # A wait that a rule asks for is waited; for room in a quota nobody waits longer than what is weighed.
        self._furthest = max(waits_seconds, default=0)

    def permit(self, request: RetryRequest, now: datetime, ledger: Sequence[Entry]) -> Permit:
        """Say what the rules permit after a decline; `Policy.permit` says how."""
        at = micros(now)
        today = self._days.get(at // DAY) or self._open(at // DAY)
        opening = _opening(today, request)
        if opening is None:
            return _unruled()
        reading, decline = opening.reading, request.decline
        since = 0 if decline.declined_at is None else max(0, (at - micros(decline.declined_at)) // SECOND)
        terms = _Terms(request, opening, since)
        latest = self._horizon - _elapsed(request, ledger, at, since)
        if terms.within is not None:
            latest = min(latest, max(terms.within, terms.same))
        declined = attempt_id(request.payment_id, request.attempt) if ledger else 0
        following = attempt_id(request.payment_id, request.attempt + 1) if ledger else 0
        attempts, outside = attempts_of(request, declined, following, ledger, at)
        last = (at + max(0, latest) * SECOND) // DAY
        later = today.later.get(last)
        if later is None:
            later = today.later[last] = self._rules.between(today.first, moment(last * DAY).date())
        counted = periods(later, today.book, request, attempts, at)
        quota = terms.bind(counted, at)
        if ledger:
            terms.know(request, declined, following, ledger, at)
            if terms.planned is not None:
                latest = terms.planned
        terms.hold(latest)
        terms.fit(counted, at, latest, self._furthest)
        sends = terms.verdict in _SENDS
        return Permit(
            decline_class=reading.decline_class,
            blame=reading.blame,
            verdict=terms.verdict,
            earliest_seconds=terms.earliest,
            same_processor_seconds=terms.same,
            latest_seconds=max(0, latest),
            cascade=terms.cascade and sends,
            same_processor=reading.same_processor and sends,
            rules=tuple(terms.rules),
            quota=quota,
            reasons=tuple(terms.reasons),
            authentication=terms.authentication,
            credential=terms.credential,
            periods=counted,
            ledger=tuple(ledger),
            outside=outside,
        )

    def _open(self, day: int) -> _Day:
        """Take the rules of a day, counted from 1970."""
        if len(self._days) >= _MOST_DAYS:
            self._days.clear()
        then = moment(day * DAY).date()
        found = self._days[day] = _Day(then, self._rules.at(then), {}, {})
        return found


def _opening(today: _Day, request: RetryRequest) -> _Opening | None:
    """Return what the decline of a question means today; None where no rule speaks of it."""
    decline = request.decline
    initiator: Initiator = "merchant" if request.initiator == "merchant" else "customer"
    network, code, advice = request.card_network, decline.response_code, decline.advice_code
    reason, country = decline.decline_reason, request.issuer_country
    key = (network, decline.processor, code, advice, reason, country, initiator)
    if key in today.openings:
        return today.openings[key]
    book = today.book
    reading = book.read(
        book.network(network),
        processor=decline.processor,
        code=code,
        advice=advice,
        reason=reason,
        country=country,
        initiator=initiator,
    )
    opening = None
    if reading is not None:
        treatment = book.treatment(reading.decline_class, initiator)
        said = f"{_said(request)}: {reading.decline_class}, blame {reading.blame} ({reading.rules[0].id})"
        reasons = [Reason(code=f"class_{reading.decline_class}", detail=said)]
        if code is None and reason is None and advice is None:
            reasons.append(Reason(code="decline_unstated", detail="no response code, advice or reason was given"))
        opening = _Opening(reading, treatment, (*reading.rules, treatment.bound), tuple(reasons))
    if len(today.openings) >= MOST_KEPT:
        today.openings.clear()
    today.openings[key] = opening
    return opening


class _Terms:
    """What the reading of a decline and its treatment come to for one payment, tightened step by step."""

    __slots__ = (
        "authentication",
        "cascade",
        "credential",
        "earliest",
        "planned",
        "reasons",
        "rules",
        "same",
        "verdict",
        "within",
    )

    def __init__(self, request: RetryRequest, opening: _Opening, since: int) -> None:
        reading, treatment = opening.reading, opening.treatment
        self.rules = [*opening.rules]
        self.reasons = [*opening.reasons]
        self.verdict = _SETTLED.get(treatment.verdict)
        self.authentication: Authentication = "three_ds" if request.uses_3ds else "none"
        self.credential: Credential | None = None
        self.within = treatment.within_seconds
        self.planned: int | None = None
        ruled = max(0, reading.wait_seconds - since)
        self.same = max(ruled, treatment.wait_seconds - since)
        self.cascade = treatment.cascade if reading.cascade is None else reading.cascade
        if _may_send_as(request, reading.send_as):
            # Another credential is another question to the issuer: nothing is waited for but what a rule asks.
            self.verdict, self.within, self.same, self.cascade = None, None, ruled, True
            self.credential = reading.send_as
            detail = f"the card was refused as sent; the payment may go as {reading.send_as}"
            self.reasons.append(Reason(code="send_as", detail=detail))
        elif self.verdict == "authenticate":
            self.cascade, self.authentication = True, "three_ds"
            if request.uses_3ds:
                self.verdict = "stop"
                detail = "authentication is asked for, and the declined attempt had it: ask for another method"
                self.reasons.append(Reason(code="already_authenticated", detail=detail))
        if self.verdict is not None and treatment.told is not None:
            self.reasons.append(treatment.told)
        if ruled:
            detail = f"{ruled} s of {reading.wait_seconds} s are still to wait"
            self.reasons.append(Reason(code="rule_wait", detail=detail))
        self.earliest = ruled if self.cascade else self.same

    def bind(self, counted: Sequence[Period], at: int) -> Quota | None:
        """Name the limit that leaves fewest attempts now, and return its quota."""
        tightest = counted[0].tightest(at)
        if tightest is None:
            return None
        self.rules.append(tightest.rule.bound)
        return tightest.quota(at)

    def know(self, request: RetryRequest, declined: int, following: int, ledger: Sequence[Entry], at: int) -> None:
        """Follow the ledger where it knows better: of this attempt an approval, of the next one anything."""
        number = request.attempt + 1
        for entry in ledger:
            if entry.attempt not in (declined, following):
                continue
            if entry.status == APPROVED:
                number -= entry.attempt == declined
                return self._settle("verify_first", "approved_already", f"attempt {number} is known to be approved")
            if entry.attempt == declined:
                continue
            if entry.status != RESERVED:
                detail = f"attempt {number} was made and failed: ask about that one"
                return self._settle("stop", "superseded", detail)
            if self.verdict not in _SENDS:
                return None
            if entry.at > at:
                # Whoever asks gets the plan that there is: a second one would be a second attempt. No rule is cut short.
                self.planned = self.earliest = max(self.earliest, -((at - entry.at) // SECOND))
                self.same = max(self.same, self.planned)
                detail = f"attempt {number} is planned already, in {self.planned} s: the plan stands"
                self.reasons.append(Reason(code="retry_planned", detail=detail))
                return None
            detail = f"attempt {number} was due {(at - entry.at) // SECOND} s ago and nobody has said what became of it"
            return self._settle("verify_first", "retry_unresolved", detail)
        return None

    def hold(self, latest: int) -> None:
        """Stop what could go no earlier than it may go at the latest."""
        if self.verdict in _SENDS and self.earliest > latest:
            detail = f"the earliest retry, in {self.earliest} s, lies past the horizon, in {max(0, latest)} s"
            self._settle("stop", "beyond_horizon", detail, place=1)

    def fit(self, counted: Sequence[Period], at: int, latest: int, furthest: int) -> None:
        """Wait for room under every limit, or stop: a customer is not kept waiting for it."""
        if self.verdict in ("stop", "verify_first"):
            return
        room = _room(counted, at, self.earliest)
        if room == self.earliest:
            return
        period = period_at(counted, at + self.earliest * SECOND)
        full = period.tightest(at + self.earliest * SECOND)
        assert full is not None
        quota = full.quota(at + self.earliest * SECOND)
        bound = full.rule.bound
        if bound not in self.rules:
            self.rules.append(bound)
        detail = f"{quota.used} of {quota.limit} attempts in {quota.window_seconds} s are used ({bound.id})"
        if self.verdict is not None or room > latest or room > furthest:
            self._settle("stop", "quota_exhausted", detail)
            return
        self.reasons.append(Reason(code="quota_wait", detail=f"{detail}; there is room in {room} s"))
        self.earliest, self.same = room, max(self.same, room)

    def _settle(self, verdict: Verdict, code: str, detail: str, place: int = 0) -> None:
        self.verdict = verdict
        self.reasons.insert(place, Reason(code=code, detail=detail))


def _may_send_as(request: RetryRequest, credential: Credential | None) -> bool:
    return credential is not None and credential in request.credentials and request.is_network_token is not False


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


def _elapsed(request: RetryRequest, ledger: Sequence[Entry], now: int, since: int) -> int:
    """Return the seconds since the first attempt that is known, of the question's and of this payment's in the ledger."""
    elapsed = since
    if request.previous_attempts:
        first = micros(min([attempt.occurred_at for attempt in request.previous_attempts]))
        elapsed = max(elapsed, (now - first) // SECOND)
    if ledger:
        known = {entry.attempt: entry.at for entry in ledger}
        for attempt in range(1, min(request.attempt, _LOOKED_FOR) + 1):
            at = known.get(attempt_id(request.payment_id, attempt))
            if at is not None:
                return max(elapsed, -((at - now) // SECOND))
    return elapsed


def _room(counted: Sequence[Period], at: int, earliest: int) -> int:
    """Return the first wait, in whole seconds and not before the earliest, with room under every limit of its day."""
    wait = earliest
    for place, period in enumerate(counted):
        wait = max(wait, -((at - period.room_at()) // SECOND))
        if place + 1 == len(counted) or at + wait * SECOND < counted[place + 1].begins:
            break
    return wait


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
