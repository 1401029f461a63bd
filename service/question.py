"""A question under way: what was asked, under which bundle, when it is due, and what it reads of the store.

This module must not know how it is answered.
"""

import os
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from time import perf_counter_ns
from typing import Any, Final, NamedTuple

from contracts.payment import Payment
from features.clock import micros
from features.entity import candidate_keys, payment_keys
from features.layout import LAYOUTS
from service.answer import Tail
from service.answered import Kind
from service.ledger import key_of
from service.models.bundle import Bundle
from service.stages import Clock, current
from service.standing import keys_of
from service.store.base import StateKeys, by_attempt, by_question

# Decision ids are letters only: a run of digits in one could pass for a card number.
_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")
_ID_BYTES: Final = 12
_IDS_AT_ONCE: Final = 256
_CHANCE: Final[list[bytes]] = []
# Two processes must never give out the same ids.
os.register_at_fork(after_in_child=_CHANCE.clear)
CLOCK_SKEW: Final = timedelta(minutes=5)
LONGEST_WINDOW: Final = timedelta(microseconds=max(layout.horizon for layout in LAYOUTS.values()))


def keys_of_question(
    request: Payment, processors: Sequence[str], network: str, ledger: str, record: str, answer: str
) -> StateKeys:
    """Return the keys of all that an answer needs of the store; the last three are given."""
    standings: list[str] = []
    for name in processors:
        standings += keys_of(name, network, request.merchant_id)
    candidates = tuple([candidate_keys(request, name) for name in processors])
    return StateKeys(payment_keys(request), candidates, record, tuple(standings), ledger, answer)


try:
    from service.keys_native import keys
except ImportError:
    keys = keys_of_question


class Question(NamedTuple):
    """A question under way.

    Attributes
    ----------
    kind, request
        What was asked.
    bundle
        The one that answers it, whichever is active by then.
    processors, network
        The candidates, and the card's network as the rules know it.
    now, at
        When it came in, and the moment it is about in microseconds.
    deadline
        When its answer is due, a value of `time.monotonic`.
    decision_id, started, degraded
        Of its answer: the id, a value of `time.perf_counter_ns`, and what it had to do without so far.
    clock
        Told when a stage is done.
    """

    kind: Kind
    request: Any
    bundle: Bundle
    processors: tuple[str, ...]
    network: str
    now: datetime
    at: int
    deadline: float
    decision_id: str
    started: int
    degraded: list[str]
    clock: Clock

    @property
    def attempt(self) -> int:
        """Number of the attempt that its answer would send: a retry's comes after the declined one."""
        number: int = self.request.attempt
        return number + 1 if self.kind == "retry" else number

    @property
    def record_key(self) -> str:
        """Key of the record of that attempt."""
        return by_attempt(self.request.payment_id, self.attempt)

    @property
    def answer_key(self) -> str:
        """Key of the answer that this very question was given."""
        return by_question(self.kind, self.request.payment_id, self.request.attempt)

    @property
    def ledger_key(self) -> str:
        """Key of the attempts of its card at its merchant."""
        request = self.request
        return key_of(self.network, request.initiator, request.merchant_id, request.card_token)

    @property
    def tail(self) -> Tail:
        """What its answer carries when it is found this moment."""
        return Tail(self.decision_id, tuple(self.degraded), (perf_counter_ns() - self.started) // 1000)

    def keys(self) -> StateKeys:
        """Return the keys of all that its answer needs of the store."""
        return keys(self.request, self.processors, self.network, self.ledger_key, self.record_key, self.answer_key)


def asked(kind: Kind, request: Payment, bundle: Bundle, deadline: float) -> Question:
    """Return a question that came in this moment."""
    started = perf_counter_ns()
    now = datetime.now(UTC)
    degraded: list[str] = []
    moment = moment_of(request.occurred_at, now, degraded)
    return Question(
        kind,
        request,
        bundle,
        request.processors or bundle.processors,
        bundle.network(request.card_network),
        now,
        micros(moment),
        deadline,
        _decision_id(),
        started,
        degraded,
        current(),
    )


def _decision_id() -> str:
    """Return an id that nobody can guess: 12 bytes of the system's own chance, which are fetched for many at once."""
    try:
        chance = _CHANCE.pop()
    except IndexError:
        block = secrets.token_bytes(_ID_BYTES * _IDS_AT_ONCE)
        _CHANCE.extend([block[at : at + _ID_BYTES] for at in range(0, len(block), _ID_BYTES)])
        chance = _CHANCE.pop()
    return "d_" + chance.hex().translate(_LETTERS)


def moment_of(occurred_at: datetime | None, now: datetime, degraded: list[str]) -> datetime:
    """Return when something happened: as told, or now; never later than clocks may differ.

    A time from the future would push the present out of every window, so it counts as now, and the answer says so. A time
    before the longest window counts as it is, in no window that is asked about today, and the answer says that too.
    """
    if occurred_at is None:
        return now
    if occurred_at > now + CLOCK_SKEW:
        degraded.append("clock:occurred_in_future")
        return now
    if now - occurred_at > LONGEST_WINDOW:
        degraded.append("clock:occurred_long_ago")
    return occurred_at
