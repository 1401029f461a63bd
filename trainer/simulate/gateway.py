"""The gateway's side of live mode: payments as requests, and the simulated network that answers for a processor.

This module must not know HTTP or policies' results.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

from contracts.outcome import Outcome
from contracts.payment import AuthRequest, Decline, PreviousAttempt, RetryRequest
from trainer.simulate import facts, tables
from trainer.simulate.approval import Declined, carry, first_attempt, next_attempt
from trainer.simulate.draws import uniform
from trainer.simulate.facts import APPROVED, NONE, STATUSES, TIMEOUT, Array
from trainer.simulate.fates import Fate, settle
from trainer.simulate.payments import Payments
from trainer.simulate.policies import stepped_up

if TYPE_CHECKING:
    from trainer.simulate.world import World

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LEAVE_CHALLENGE: Final = 0.07
FRAUD_FAILS_CHALLENGE: Final = 0.8
LONGEST_WAIT_S: Final = 864_000.0
LOOKED_INTO: Final = "system_malfunction"
"""What the gateway says of an attempt without an answer once it has found out that it did not go through."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that the simulated network has answered; times are microseconds since the start of the world.

    `chance` is the true probability with which it was approved; `passed`, `cause` and `chance` are never shown.
    """

    row: int
    number: int
    processor: int
    at_us: int
    status: int
    code: str | None
    advice: str | None
    cause: int
    latency_ms: int
    settled_us: int
    passed: float
    with_3ds: bool
    chance: float

    @property
    def heard_us(self) -> int:
        """When the gateway heard of it, or gave up waiting; what became of it is known at `settled_us`."""
        return self.at_us + self.latency_ms * 1000

    @property
    def approved(self) -> bool:
        """Whether it was approved."""
        return self.status == APPROVED


class Gateway:
    """Holds a batch of payments, answers for every processor, and speaks the wire contract.

    Parameters
    ----------
    world, payments
        The world and what is paid in it.
    prefix
        What the payment ids begin with.
    """

    def __init__(self, world: "World", payments: Payments, prefix: str = "live") -> None:
        self.world = world
        self.payments = payments
        self.names = world.processors.names
        self._index = {name: k for k, name in enumerate(self.names)}
        self._merchant: list[int] = payments.merchant.tolist()
        self._joins: list[int] = world.processors.joins_us.tolist()
        joined = self.names[world.merchants.order.shape[1] :]
        self._orders = [(*[self.names[k] for k in order], *joined) for order in world.merchants.order.tolist()]
        numbers = payments.number - payments.number[:1]
        self._ids: list[str] = tables.payment_ids(world.seed, numbers, prefix).to_pylist()
        self._columns = _columns(world, payments)
        stepped = stepped_up(payments)
        self._first = {False: self._answers(payments), True: self._answers(stepped)}
        leaves = np.where(payments.is_fraud, FRAUD_FAILS_CHALLENGE, LEAVE_CHALLENGE)
        newly = ~(payments.merchant_initiated | payments.with_3ds)
        self._leaves = (uniform(payments.key, 1, 14) < leaves) & newly
        self._stepped = stepped

    def __len__(self) -> int:
        return len(self._ids)

    def auth_request(self, row: int) -> AuthRequest:
        """Return a payment as the gateway asks about it."""
        return AuthRequest(**self._fields(row))

    def first_preference(self, row: int) -> str:
        """Return the processor the shop would use on its own."""
        return self.candidates(row, int(self.payments.at_us[row]))[0]

    def candidates(self, row: int, at_us: int) -> tuple[str, ...]:
        """Return the processors that a payment can go through at a time, in the shop's order; who joined comes last."""
        order = self._orders[self._merchant[row]]
        while at_us < self._joins[len(order) - 1]:
            order = order[:-1]
        return order

    def leaves_challenge(self, row: int) -> bool:
        """Whether the payer does not come back from a 3DS challenge that the shop had not planned."""
        return bool(self._leaves[row])

    def send(self, row: int, processor: str, *, challenge: bool = False) -> Attempt:
        """Return what becomes of the first attempt through `processor`, with 3DS when challenged."""
        k = self._index[processor]
        fates, issuer, passing = self._first[challenge]
        payments = self._stepped if challenge else self.payments
        passed = float(passing[row, k])
        chance = float(issuer[row]) * passed
        at_us = int(payments.at_us[row])
        return _attempt(row, 1, k, at_us, fates[k], row, passed, bool(payments.with_3ds[row]), chance)

    def send_again(self, before: Attempt, processor: str, wait_s: float, *, authenticate: bool = False) -> Attempt:
        """Return what becomes of the attempt after `before`, `wait_s` simulated seconds later."""
        k = self._index[processor]
        rows = np.array([before.row])
        one = self.payments.take(rows)
        with_3ds = before.with_3ds or (authenticate and not bool(one.merchant_initiated[0]))
        one = replace(one, with_3ds=np.array([with_3ds]))
        wait_s = min(max(wait_s, 0.0), LONGEST_WAIT_S)
        at_us = before.settled_us + int(wait_s * 1e6)
        cause = np.array([before.cause], dtype=np.int8)
        declined = Declined(
            cause,
            np.array([before.processor]),
            np.array([before.passed]),
            np.array([before.number + 1]),
            np.array([wait_s]),
            one.with_3ds,
        )
        where, when = np.array([k]), np.array([at_us])
        issuer, passing = next_attempt(self.world, one, declined, when)
        fate = settle(self.world, one, before.number + 1, where, issuer, passing[:, k], when, cause)
        passed = float(carry(self.world, one, declined, where, when)[0])
        chance = float(issuer[0] * passing[0, k])
        return _attempt(before.row, before.number + 1, k, at_us, fate, 0, passed, with_3ds, chance)

    def outcome(self, attempt: Attempt, decision_id: str | None) -> Outcome:
        """Return the report of an attempt, once it is known what became of it."""
        return Outcome(
            payment_id=self._ids[attempt.row],
            attempt=attempt.number,
            decision_id=decision_id,
            processor=self.names[attempt.processor],
            status=STATUSES[attempt.status],
            response_code=attempt.code,
            advice_code=attempt.advice,
            latency_ms=attempt.latency_ms,
            occurred_at=self.moment(attempt.settled_us),
        )

    def reports(self, attempt: Attempt, decision_id: str | None) -> list[tuple[int, Outcome]]:
        """Return what the gateway reports of an attempt and when: a timeout first where no answer came in time.

        A timeout that turns out to have come to nothing is not reported again.
        """
        final = self.outcome(attempt, decision_id)
        if attempt.settled_us == attempt.heard_us:
            return [(attempt.settled_us, final)]
        early = msgspec.structs.replace(
            final, status="timeout", response_code=None, advice_code=None, occurred_at=self.moment(attempt.heard_us)
        )
        reports = [(attempt.heard_us, early)]
        if attempt.status != TIMEOUT:
            reports.append((attempt.settled_us, final))
        return reports

    def retry_request(self, attempts: list[Attempt]) -> RetryRequest:
        """Return the question whether the last of `attempts` is worth another try."""
        last = attempts[-1]
        fields = self._fields(last.row)
        fields["attempt"] = last.number
        # The moment of the question: the gateway asks as soon as it knows of the decline.
        fields["occurred_at"] = self.moment(last.settled_us)
        fields["processors"] = self.candidates(last.row, last.settled_us)
        fields["uses_3ds"] = last.with_3ds
        decline = Decline(
            processor=self.names[last.processor],
            response_code=last.code,
            advice_code=last.advice,
            decline_reason=None if last.code else LOOKED_INTO,
            declined_at=self.moment(last.settled_us),
            latency_ms=last.latency_ms,
        )
        earlier = tuple(
            PreviousAttempt(
                processor=self.names[attempt.processor],
                status=STATUSES[attempt.status],
                occurred_at=self.moment(attempt.at_us),
                response_code=attempt.code,
                advice_code=attempt.advice,
            )
            for attempt in attempts[:-1]
        )
        return RetryRequest(**fields, decline=decline, previous_attempts=earlier)

    def moment(self, at_us: int) -> datetime:
        """Return a time of the world as a moment."""
        return _EPOCH + timedelta(microseconds=self.world.calendar.start_us + at_us)

    def _answers(self, payments: Payments) -> tuple[list[Fate], Array, Array]:
        issuer, passing = first_attempt(self.world, payments)
        nothing = np.full(len(payments), NONE, dtype=np.int8)
        fates = [
            settle(self.world, payments, 1, np.full(len(payments), k), issuer, passing[:, k], payments.at_us, nothing)
            for k in range(len(self.names))
        ]
        return fates, issuer, passing

    def _fields(self, row: int) -> dict[str, Any]:
        fields = {name: values[row] for name, values in self._columns.items()}
        at_us = int(self.payments.at_us[row])
        fields["payment_id"] = self._ids[row]
        fields["occurred_at"] = self.moment(at_us)
        fields["processors"] = self.candidates(row, at_us)
        return fields


def _attempt(
    row: int, number: int, processor: int, at_us: int, fate: Fate, at: int, passed: float, with_3ds: bool, chance: float
) -> Attempt:
    code, advice = int(fate.code[at]), int(fate.advice[at])
    return Attempt(
        row=row,
        number=number,
        processor=processor,
        at_us=at_us,
        status=int(fate.status[at]),
        code=facts.RESPONSE_CODES[code] if code >= 0 else None,
        advice=facts.ADVICE_CODES[advice] if advice >= 0 else None,
        cause=int(fate.cause[at]),
        latency_ms=int(fate.latency_ms[at]),
        settled_us=int(fate.settled_us[at]),
        passed=passed,
        with_3ds=with_3ds,
        chance=chance,
    )


def _columns(world: "World", payments: Payments) -> dict[str, list[Any]]:
    """The request's fields as lists, once, so that a request costs no array access."""
    shops, cards, holders = world.merchants, world.cards, world.holders
    card, merchant, country = payments.card, payments.merchant, payments.country

    def names(codes: Array, values: tuple[str, ...]) -> list[str | None]:
        return [values[code] if code >= 0 else None for code in codes.tolist()]

    def numbers(values: Array) -> list[float | None]:
        return [None if value != value else round(value, 3) for value in values.tolist()]

    return {
        "merchant_id": names(merchant, shops.name),
        "merchant_segment": names(shops.segment[merchant], facts.SEGMENTS),
        "merchant_country": names(country, facts.SHOP_COUNTRIES),
        "amount_minor": payments.amount.tolist(),
        "currency": names(facts.CURRENCY_OF[country], facts.CURRENCIES),
        "card_token": tables.fixed(cards.token[card]).to_pylist(),
        "customer_id": tables.fixed(holders.customer_id[payments.customer]).to_pylist(),
        "card_bin": names(cards.bin_at(card, payments.at_us), cards.bins),
        "card_network": names(payments.network, facts.NETWORKS),
        "card_funding": names(cards.funding[card], facts.FUNDINGS),
        "issuer_country": names(cards.country[card], facts.COUNTRIES),
        "is_network_token": payments.token.tolist(),
        "uses_3ds": payments.with_3ds.tolist(),
        "initiator": names(payments.merchant_initiated.astype(np.int8), facts.INITIATORS),
        "channel": names(payments.channel, facts.CHANNELS),
        "fraud_score": numbers(payments.fraud_score),
        "device_id": tables.fixed(holders.device_id[payments.device], payments.device < 0).to_pylist(),
        "device_trust_score": numbers(payments.trust),
        "ip_country": names(payments.ip_country, facts.COUNTRIES),
        "cvv_result": names(payments.cvv, facts.CVV_RESULTS),
        "avs_result": names(payments.avs, facts.AVS_RESULTS),
    }
