"""Cards on which several systems race: customers who try again, billing systems, and gateways that ask the policy.

Every system asks before it sends, reads the card's ledger, and commits what it decided a moment later: in between others
may have been faster. Outcomes come late, out of order, or never; attempts are sent up to minutes after their time. The log
says what was in fact sent.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Final, Literal, NamedTuple

import msgspec

from contracts.inputs import Credential
from contracts.payment import Decline, PreviousAttempt, RetryRequest
from features.clock import DAY, HOUR, MINUTE, SECOND, micros, moment
from service.ledger import APPROVED, FAILED, Entry, Limit, attempt_id, entries, reserve, settle
from service.policy.policy import Policy
from tests.service.policy.violations import Answer, Attempt, Ended, Side

PROCESSORS: Final = ("north", "south", "east")
ROUNDS: Final = 3
"""How often a decision is made anew when another system was faster."""
ANSWER_US: Final = DAY
"""How long an answer is given again to the same question."""
_BEGINNINGS: Final = tuple(
    micros(datetime(year, month, day, tzinfo=UTC))
    for year, month, day in ((2025, 4, 20), (2025, 5, 10), (2026, 3, 1), (2026, 6, 30), (2026, 10, 1))
)

Weighted = tuple[tuple[str | None, ...], tuple[float, ...]]
"""Values, and how often each of them comes, cumulated."""


def weighted(**shares: float) -> Weighted:
    """Return values to draw from; `none` stands for no value, and a leading underscore is left out.

    >>> weighted(_51=2, none=1)
    (('51', None), (2.0, 3.0))
    """
    total, cumulated = 0.0, []
    for share in shares.values():
        total += share
        cumulated.append(total)
    names = tuple([None if name == "none" else name.removeprefix("_") for name in shares])
    return names, tuple(cumulated)


class Mix(msgspec.Struct, frozen=True, kw_only=True):
    """What the world is like.

    Attributes
    ----------
    networks, countries, codes, advices
        Of cards, and of declines; advice codes are Mastercard's.
    approved, unknown
        Shares of attempts that are approved, and whose outcome nobody knows at first.
    days, payments
        How long a card is watched, and how many payments there are on it.
    late_us, think_us
        The most by which an attempt is sent after its time, and by which a decision follows what it was made of.
    """

    networks: Weighted = weighted(visa=4, mastercard=5, amex=1, discover=1, elo=1)
    countries: Weighted = weighted(US=2, DE=2, BR=2, AE=1)
    codes: Weighted = weighted(
        _51=30, _05=20, _61=5, _65=5, _59=3, _91=15, _96=8, _19=2, _06=2, _41=1, _43=1, _04=1, _14=1, _46=1, _57=1, _12=1,
        _15=1, R1=1, _54=1, _55=1, _82=2, N7=1, _6P=1, _1A=3, _70=2, _83=3, _79=1, _78=1, _63=1, _03=1, _58=1, none=1,
    )  # fmt: skip
    advices: Weighted = weighted(
        none=50, _24=8, _25=4, _26=2, _27=2, _28=2, _29=1, _30=2, _02=4, _01=2, _03=2, _04=3, _05=1, _21=2, _22=1, _40=2,
        _41=1, _42=1, _43=1,
    )  # fmt: skip
    approved: float = 0.06
    unknown: float = 0.04
    days: int = 75
    payments: int = 45
    late_us: int = 9 * MINUTE
    think_us: int = 3 * SECOND


class Order(NamedTuple):
    """What a payment is: its side, amount, and how it may be sent."""

    payment: str
    side: Side
    amount: int
    is_token: bool | None
    credentials: tuple[Credential, ...]


class _Sent(NamedTuple):
    """An attempt on its way: of which payment, which one, and how."""

    order: Order
    number: int
    three_ds: bool
    card_number: bool


class World:
    """One card at one merchant.

    Attributes
    ----------
    attempts, answers
        The log, for the checker; `decisions` is how often the policy was asked.
    """

    def __init__(self, policy: Policy, mix: Mix, seed: int, *, atomic: bool = True, apart: bool = True) -> None:
        self._policy = policy
        self._mix = mix
        self._atomic = atomic
        self._apart = apart
        self._random = random.Random(seed)
        self._network = self._draw(mix.networks) or "visa"
        self._country = self._draw(mix.countries) or "US"
        self._begins = self._random.choice(_BEGINNINGS)
        # In some worlds the sooner is the likelier, so that quotas are used up fast.
        fade = self._random.choice((1.0, 0.5))
        self._table = [[fade**row * self._random.random() for _ in PROCESSORS] for row in range(16)]
        self._ledgers: dict[str, bytes | None] = {}
        self._answered: dict[tuple[str, int], tuple[int, RetryRequest]] = {}
        self._previous: list[PreviousAttempt] = []
        self._events: list[tuple[int, int, str, tuple[object, ...]]] = []
        self._ticket = 0
        self.attempts: list[Attempt] = []
        self.answers: list[Answer] = []
        self.decisions = 0

    def run(self) -> None:
        """Let everything happen, in the order of time."""
        self._customers_and_bills()
        end = self._begins + self._mix.days * DAY
        while self._events:
            now, _, what, about = heappop(self._events)
            if now > end:
                break
            getattr(self, what)(now, *about)

    def _draw(self, values: Weighted) -> str | None:
        return self._random.choices(values[0], cum_weights=values[1])[0]

    def _later(self, at: int, what: str, *about: object) -> None:
        self._ticket += 1
        heappush(self._events, (at, self._ticket, what, about))

    def _customers_and_bills(self) -> None:
        """Customers come in bursts and want the same thing again; bills come once in a while, of one amount mostly."""
        draw = self._random
        near = self._begins
        for number in range(self._mix.payments):
            side: Side = "merchant" if draw.random() < 0.5 else "customer"
            amount = draw.choice((2_000, 2_000, 2_000, 9_900))
            is_token = draw.choice((None, True, False))
            both: tuple[Credential, ...] = ("network_token", "card_number")
            credentials = both if is_token and draw.random() < 0.5 else ()
            order = Order(f"p{number}", side, amount, is_token, credentials)
            if side == "customer" and number and draw.random() < 0.7:
                at = near + int(draw.random() * 20 * MINUTE)
            else:
                at = self._begins + int(draw.random() * 50 * DAY)
            near = at
            self._later(at, "_begin", order)

    def _begin(self, now: int, order: Order) -> None:
        """Ask whether a new payment may be sent."""
        request = self._request(now, order, 1, None)
        self._later(now + self._think(), "_commit_first", order, request, self._ledgers.get(self._key(order)))

    def _commit_first(self, now: int, order: Order, request: RetryRequest, seen: bytes | None) -> None:
        self.decisions += 1
        limits = self._policy.attempt_limits(request, moment(now))
        entry = Entry(now, attempt_id(order.payment, 1), order.amount)
        if self._take(order, entry, limits, seen):
            self._later(now + self._lateness(), "_send", _Sent(order, 1, False, False))

    def _take(self, order: Order, entry: Entry, limits: Sequence[Limit], seen: bytes | None) -> bool:
        """Enter an attempt in the ledger, as a store does: with what it holds now, or (not atomic) with what was seen."""
        key = self._key(order)
        taken = reserve(self._ledgers.get(key) if self._atomic else seen, entry, limits)
        if taken is None:
            return False
        self._ledgers[key] = taken
        return True

    def _send(self, now: int, sent: _Sent) -> None:
        """Send an attempt: what becomes of it is known later, if ever."""
        draw, mix = self._random, self._mix
        luck = draw.random()
        order = sent.order
        ended: Ended = "declined"
        code = advice = None
        if luck < mix.approved:
            ended = "approved"
        elif luck < mix.approved + mix.unknown:
            ended = "unknown"
        else:
            code = self._draw(mix.codes)
            if self._network == "mastercard":
                advice = self._draw(mix.advices)
        place = len(self.attempts)
        self.attempts.append(
            Attempt(
                now,
                "card",
                "merchant",
                self._network,
                order.side,
                self._country,
                order.amount,
                order.payment,
                sent.number,
                ended,
                code,
                advice,
                sent.three_ds,
                sent.card_number,
            )
        )
        known = now + 1 + int(draw.random() ** 3 * 40 * SECOND)
        if draw.random() < 0.95:
            reported = known + (0 if draw.random() < 0.7 else int(draw.random() * 2 * DAY))
            self._later(reported, "_report", place)
        self._later(known, "_hear", place, sent)

    def _hear(self, now: int, place: int, sent: _Sent) -> None:
        """The gateway hears of an outcome; one or two systems ask what next, some again days later."""
        attempt = self.attempts[place]
        if attempt.ended == "approved":
            return
        draw = self._random
        for _ in range(1 + (draw.random() < 0.3)):
            self._later(now + self._think(), "_ask", place, sent)
        if draw.random() < 0.1:
            self._later(now + ANSWER_US + int(draw.random() * 3 * DAY), "_ask", place, sent)
        if attempt.ended == "unknown" and draw.random() < 0.7:
            self._later(now + int(draw.random() * 6 * HOUR), "_verify", place, sent)

    def _report(self, now: int, place: int) -> None:
        """The outcome of an attempt reaches the ledger, as known by then."""
        attempt = self.attempts[place]
        order_key = self._side_key(attempt.side)
        status = APPROVED if attempt.ended == "approved" else FAILED
        entry = Entry(attempt.moment, attempt_id(attempt.payment, attempt.number), attempt.amount, status)
        self._ledgers[order_key] = settle(self._ledgers.get(order_key), entry)
        if self._random.random() < 0.3:
            said: Literal["approved", "declined"] = "approved" if attempt.ended == "approved" else "declined"
            jitter = int(self._random.uniform(-2, 2) * SECOND)
            self._previous.append(
                PreviousAttempt(processor="north", status=said, occurred_at=moment(attempt.moment + jitter))
            )

    def _verify(self, now: int, place: int, sent: _Sent) -> None:
        """An unknown outcome is found out, and reported."""
        approved = self._random.random() < 0.4
        self.attempts[place] = self.attempts[place]._replace(
            ended="approved" if approved else "declined", code=None if approved else "51", verified_at=now
        )
        self._report(now, place)
        if not approved:
            self._later(now + self._think(), "_ask", place, sent)

    def _ask(self, now: int, place: int, sent: _Sent) -> None:
        """Ask about a decline, with the ledger as it is; what is answered is committed a moment later."""
        attempt = self.attempts[place]
        if attempt.ended == "approved":
            return
        request = self._request(now, sent.order, sent.number, attempt)
        self._later(now + self._think(), "_commit", now, place, sent, request, self._ledgers.get(self._key(sent.order)))

    def _commit(self, now: int, asked: int, place: int, sent: _Sent, request: RetryRequest, seen: bytes | None) -> None:
        """Decide and claim the answer; a question that was answered within the day has that answer already.

        Whoever is told of a plan that there is leaves it to whoever made it.
        """
        question = (request.payment_id, request.attempt)
        before = self._answered.get(question)
        if before is not None and now - before[0] < ANSWER_US:
            return
        policy = self._policy
        when = moment(asked)
        ledger = entries(seen)
        for _ in range(ROUNDS):
            self.decisions += 1
            permit = policy.permit(request, when, ledger)
            waits = policy.waits(permit)
            choice = policy.plan(request, permit, PROCESSORS, waits, self._table[: len(waits)], when)
            if choice.reservation is None:
                break
            at, limits = choice.reservation
            entry = Entry(at, attempt_id(request.payment_id, request.attempt + 1), request.amount_minor)
            if self._take(sent.order, entry, limits, seen):
                break
            seen = self._ledgers.get(self._key(sent.order))
            ledger = entries(seen)
        else:
            return
        self._answered[question] = (now, request)
        self.answers.append(Answer(asked, self.attempts[place], choice.verdict, choice.should_retry))
        if choice.reservation is not None and not [why for why in choice.reasons if why.code == "retry_planned"]:
            three_ds, number = choice.authentication == "three_ds", choice.credential == "card_number"
            due = max(now, choice.reservation[0]) + self._lateness()
            self._later(due, "_send", _Sent(sent.order, sent.number + 1, three_ds, number))

    def _request(self, now: int, order: Order, number: int, attempt: Attempt | None) -> RetryRequest:
        unknown = attempt is not None and attempt.ended == "unknown"
        draw = self._random
        previous: tuple[PreviousAttempt, ...] = ()
        if attempt is not None and draw.random() < 0.2:
            previous = tuple(self._previous[-20:])
        return RetryRequest(
            payment_id=order.payment,
            merchant_id="merchant",
            amount_minor=order.amount,
            currency="EUR",
            card_token="card",  # noqa: S106
            card_network=self._network,
            issuer_country=self._country,
            attempt=number,
            initiator=order.side,
            is_network_token=order.is_token,
            credentials=order.credentials,
            decline=Decline(
                processor=PROCESSORS[number % len(PROCESSORS)],
                response_code=None if attempt is None else attempt.code,
                advice_code=None if attempt is None else attempt.advice,
                decline_reason="timeout" if unknown else None,
                declined_at=moment(now if attempt is None else attempt.moment) if draw.random() < 0.9 else None,
            ),
            previous_attempts=previous,
        )

    def _key(self, order: Order) -> str:
        return self._side_key(order.side)

    def _side_key(self, side: Side) -> str:
        return side if self._apart else f"{side}{self._random.randrange(2)}"

    def _think(self) -> int:
        return 1 + int(self._random.random() ** 4 * self._mix.think_us)

    def _lateness(self) -> int:
        return 1 + int(self._random.random() ** 2 * self._mix.late_us)
