"""Attempt limits: which hold for a payment, what has been used of each, and when there is room again.

This module must not know what a decline means, nor whether a retry is worth anything.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final

import msgspec

from contracts.decision import Quota
from contracts.payment import Payment, RetryRequest
from features.clock import SECOND, micros
from service.ledger import APPROVED, FAILED, RESERVED, Entry
from service.ledger import Limit as Counted
from service.policy.rulebook import Initiator, Limit, RuleBook
from service.policy.rules import Rules

SAME_US: Final = 5 * SECOND
"""An attempt of the question and one of the ledger that failed within this of each other are the same attempt."""


class Budget(msgspec.Struct, frozen=True, gc=False):
    """One limit that holds for a payment, and what counts towards it.

    Attributes
    ----------
    rule
        Where it comes from.
    limit
        As a ledger counts it.
    times
        Moments of the failed and the open attempts that count now, microseconds, oldest first.
    """

    rule: Limit
    limit: Counted
    times: tuple[int, ...]

    def left(self, at: int) -> int:
        """Return how many attempts there is room for at a moment not before the count; 0 or less is none.

        Attempts only leave a window as time passes: once there is room, there is room for ever after.
        """
        return self.limit.most - len(self.times) + bisect_right(self.times, at - self.limit.window_us)

    def room_at(self) -> int:
        """Return the first moment with room for one more attempt, microseconds; 0 where there is room already."""
        excess = len(self.times) - self.limit.most
        return 0 if excess < 0 else self.times[excess] + self.limit.window_us

    def quota(self, at: int) -> Quota:
        """Return what is used at a moment, as an answer says it."""
        return Quota(
            used=self.limit.most - self.left(at), limit=self.limit.most, window_seconds=self.rule.window_seconds
        )


class Period(msgspec.Struct, frozen=True, gc=False):
    """From when on (microseconds) which limits hold: the rules of a day to come may differ from today's."""

    begins: int
    budgets: tuple[Budget, ...]

    @property
    def limits(self) -> tuple[Counted, ...]:
        """The limits as a ledger takes them."""
        return tuple([budget.limit for budget in self.budgets])

    def tightest(self, at: int) -> Budget | None:
        """Return the limit that leaves fewest attempts at a moment, the first of equals; None without a limit."""
        found, fewest = None, 0
        for budget in self.budgets:
            left = budget.left(at)
            if found is None or left < fewest:
                found, fewest = budget, left
        return found

    def fewest(self, moments: Sequence[int]) -> list[int]:
        """Return how many attempts the tightest limit leaves at each moment; nothing without a limit."""
        fewest: list[int] = []
        for budget in self.budgets:
            times, window, spare = budget.times, budget.limit.window_us, budget.limit.most - len(budget.times)
            lefts = [spare + bisect_right(times, at - window) for at in moments]
            fewest = list(map(min, fewest, lefts)) if fewest else lefts
        return fewest

    def room_at(self) -> int:
        """Return the first moment from the period's beginning on with room under every limit, microseconds."""
        return max([self.begins, *[budget.room_at() for budget in self.budgets]])


def attempt_limits(rules: Rules, request: Payment, now: datetime) -> tuple[Counted, ...]:
    """Return the limits in force for an attempt of a payment, as a ledger takes them; the rules are those of the UTC day."""
    amount = request.amount_minor
    return tuple([limit.of(amount) for limit in _binding(rules.at(now.astimezone(UTC).date()), request)])


def _binding(book: RuleBook, request: Payment) -> tuple[Limit, ...]:
    initiator: Initiator = "merchant" if request.initiator == "merchant" else "customer"
    return book.binding(book.network(request.card_network), request.issuer_country, initiator)


def periods(
    later: Sequence[tuple[date, RuleBook]], book: RuleBook, request: Payment, attempts: Sequence[Entry], now: int
) -> tuple[Period, ...]:
    """Count attempts under the limits of today, and under those of every later day on which the rules change.

    Parameters
    ----------
    later : sequence of tuple
        Those days and their rules, as `Rules.between` returns them.
    book : RuleBook
        Of today.
    attempts : sequence of Entry
        As `attempts_of` returns them.
    now : int
        Moment of the question, microseconds.
    """
    counted = [Period(0, _count(_binding(book, request), request.amount_minor, attempts, now))]
    for day, rules in later:
        begins = micros(datetime(day.year, day.month, day.day, tzinfo=UTC))
        counted.append(Period(begins, _count(_binding(rules, request), request.amount_minor, attempts, now)))
    return tuple(counted)


def period_at(counted: Sequence[Period], at: int) -> Period:
    """Return the period that holds at a moment."""
    holds = counted[0]
    for period in counted[1:]:
        if period.begins <= at:
            holds = period
    return holds


def _count(limits: Sequence[Limit], amount_minor: int, attempts: Sequence[Entry], now: int) -> tuple[Budget, ...]:
    """Count as `service.ledger.used` does, and keep the moments."""
    budgets = []
    for rule in limits:
        limit = rule.of(amount_minor)
        start = oldest = now - limit.window_us
        if limit.resets:
            for entry in attempts:
                if entry.status == APPROVED and start < entry.at <= now:
                    start = entry.at
        amount = limit.amount_minor
        times = [
            entry.at
            for entry in attempts
            if entry.status != APPROVED
            and entry.at > (oldest if entry.status == RESERVED else start)
            and (amount is None or entry.amount_minor == amount)
        ]
        budgets.append(Budget(rule, limit, tuple(times)))
    return tuple(budgets)


def attempts_of(
    request: RetryRequest, declined: int, following: int, ledger: Sequence[Entry], now: int
) -> tuple[tuple[Entry, ...], int]:
    """Join what the ledger knows with what the question says, oldest first, no attempt twice; how many only the question knew.

    The declined attempt is known by its id, and counts from the later of the two moments; the retry's own reservation is
    left out. An earlier failed attempt of the question is one of the ledger's when they lie within `SAME_US` of each
    other, and one more otherwise, of the payment's amount: counting one twice is safe, missing one is not. An error or a
    timeout counts as well, it may have reached the network. An approval that only the question names counts only where
    the ledger knows nothing of the card: it may have been the other side's (customer, merchant), and would reset this one's.

    Parameters
    ----------
    declined, following : int
        `service.ledger.attempt_id` of the declined attempt and of the one to come.
    now : int
        Moment of the question, microseconds: when the decline came unless the question says.
    """
    told = request.decline.declined_at
    declined_at = now if told is None else micros(told)
    amount = request.amount_minor
    if not ledger and not request.previous_attempts:
        return (Entry(declined_at, declined, amount, FAILED),), 1
    outside = 1
    attempts: list[Entry] = []
    for entry in ledger:
        if entry.attempt == declined:
            declined_at, amount, outside = max(declined_at, entry.at), entry.amount_minor, 0
        elif entry.attempt != following:
            attempts.append(entry)
    if request.previous_attempts:
        unmatched = _unmatched(request, attempts, bool(ledger))
        outside += len(unmatched)
        attempts += unmatched
    attempts.append(Entry(declined_at, declined, amount, FAILED))
    attempts.sort()
    return tuple(attempts), outside


def _unmatched(request: RetryRequest, known: Sequence[Entry], has_ledger: bool) -> list[Entry]:
    """Return the attempts of the question that are not among the known ones, which are in order."""
    failed = [entry.at for entry in known if entry.status != APPROVED]
    place = 0
    unmatched: list[Entry] = []
    for attempt in sorted(request.previous_attempts, key=lambda attempt: attempt.occurred_at):
        at = micros(attempt.occurred_at)
        if attempt.status == "approved":
            if not has_ledger:
                unmatched.append(Entry(at, 0, request.amount_minor, APPROVED))
            continue
        while place < len(failed) and failed[place] < at - SAME_US:
            place += 1
        if place < len(failed) and failed[place] <= at + SAME_US:
            place += 1
        else:
            unmatched.append(Entry(at, 0, request.amount_minor, FAILED))
    return unmatched
