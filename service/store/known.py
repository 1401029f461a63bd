"""What was last known of entities, processors, ledgers and answers: what a question is answered with while the store is away.

Two generations: what is read goes into the young one; when that is full or has served its time it becomes the old one, and
the old one is let go. So a thing that is asked about again and again stays, and nothing is older than it may be.

Remembering is on the way of every answer. What few payments have in common (card, customer, device) is remembered with
every read; what many share (merchant, issuer, candidates, standings) is nearly the same a few milliseconds later, so it is
remembered a hundred times a second. What that costs is in docs/reliability.md.

This module must not know why the store is away.
"""

from collections.abc import Sequence
from time import monotonic
from typing import Final

from features.entity import CANDIDATE_KINDS, PAYMENT_KINDS
from features.layout import LAYOUTS
from features.state import add
from service.ledger import reserve
from service.store.base import Decided, StateKeys, States, grouped

SHARED_SECONDS: Final = 0.01
"""Time between two looks at what many payments share."""
MOST_ANSWERS: Final = 4_096
"""Answers are 1 to 3 kB, and whoever asks again asks within seconds."""

_Blobs = dict[str | None, bytes | None]


class _Generation:
    """What was read in one stretch of time that began at `since`."""

    __slots__ = ("candidates", "ledgers", "payment", "since", "standings")

    def __init__(self, since: float) -> None:
        self.since = since
        self.payment: tuple[_Blobs, ...] = tuple([{} for _ in PAYMENT_KINDS])
        self.candidates: tuple[_Blobs, ...] = tuple([{} for _ in CANDIDATE_KINDS])
        self.standings: _Blobs = {}
        self.ledgers: _Blobs = {}

    def __len__(self) -> int:
        return sum(map(len, self.payment)) + sum(map(len, self.candidates)) + len(self.standings) + len(self.ledgers)


class LastKnown:
    """What the store said last, bounded in entries and in age.

    Parameters
    ----------
    most
        Entries that are kept, of all sorts together; 0 keeps none. One is some hundred bytes.
    seconds
        The greatest age of what is told.
    """

    def __init__(self, most: int, seconds: float) -> None:
        self._most = most // 2
        self._seconds = seconds
        self._young = _Generation(monotonic())
        self._old = _Generation(float("-inf"))
        self._shared_at = float("-inf")
        self._answers: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def remember(self, keys: StateKeys, states: States, now: float) -> None:
        """Take over what was read at `now` (of `time.monotonic`)."""
        if not self._most:
            return
        young = self._young
        # Spelled out: a loop over the kinds costs twice as much.
        card, customer, device, _, pair, *_ = keys.payment
        of_card, of_customer, of_device, _, of_pair, *_ = states.payment
        cards, customers, devices, _, pairs, _, _ = young.payment
        cards[card] = of_card
        pairs[pair] = of_pair
        if customer is not None:
            customers[customer] = of_customer
        if device is not None:
            devices[device] = of_device
        young.ledgers[keys.ledger] = states.ledger
        if now < self._shared_at:
            return
        self._shared_at = now + SHARED_SECONDS
        for kept, key, blob in zip(young.payment, keys.payment, states.payment, strict=True):
            kept[key] = blob
        for names, blobs in zip(keys.candidates, states.candidates, strict=True):
            for kept, key, blob in zip(young.candidates, names, blobs, strict=True):
                kept[key] = blob
        young.standings.update(zip(keys.standings, states.standings, strict=True))
        if len(young) >= self._most or now - young.since >= self._seconds / 2:
            self._old, self._young = young, _Generation(now)

    def answered(self, key: str, content: bytes) -> None:
        """Take over the answer that a question was given."""
        answers = self._answers
        answers[key] = content
        if len(answers) > MOST_ANSWERS:
            del answers[next(iter(answers))]

    def answer(self, key: str | None) -> bytes | None:
        """Return the answer that a question was given, if it was lately."""
        return None if key is None else self._answers.get(key)

    def states(self, keys: StateKeys, now: float) -> States | None:
        """Return what is known of a question's keys; None when that is nothing at all."""
        generations = [each for each in (self._young, self._old) if now - each.since <= self._seconds]
        payment = tuple(
            [_find(key, [each.payment[place] for each in generations]) for place, key in enumerate(keys.payment)]
        )
        candidates = tuple(
            [
                tuple([_find(key, [each.candidates[place] for each in generations]) for place, key in enumerate(names)])
                for names in keys.candidates
            ]
        )
        standings = tuple([_find(key, [each.standings for each in generations]) for key in keys.standings])
        ledger = _find(keys.ledger, [each.ledgers for each in generations])
        answer = self.answer(keys.answer)
        if answer is None and ledger is None and not any(payment) and not any(map(any, candidates)):
            return None if not any(standings) else States(payment, candidates, None, standings)
        return States(payment, candidates, None, standings, ledger, answer)

    def add(self, decided: Decided, now: float) -> None:
        """Count an attempt that the store did not take: the next question about its card is to know of it."""
        young, old = self._young, self._old
        known = (young, old) if now - old.since <= self._seconds else (young,)
        for (kind, key), additions in grouped(decided.updates).items():
            places = _PLACES[kind]
            kept = [(each.candidates if places[0] else each.payment)[places[1]] for each in known]
            blob = _find(key, kept)
            for increment, member in additions:
                blob = add(LAYOUTS[kind], blob, increment, member)
            kept[0][key] = blob
        if decided.reservation is not None:
            name, entry, _ = decided.reservation
            blob = _find(name, [each.ledgers for each in known])
            young.ledgers[name] = reserve(blob, entry, ())
        if len(young) > 2 * self._most:
            # Nothing is read meanwhile, so nothing else makes room.
            self._old, self._young = young, _Generation(young.since)


_PLACES: Final = {
    **{kind: (False, place) for place, kind in enumerate(PAYMENT_KINDS)},
    **{kind: (True, place) for place, kind in enumerate(CANDIDATE_KINDS)},
}


def _find(key: str | None, kept: Sequence[_Blobs]) -> bytes | None:
    """Return what the first of some dicts that has it has under a key."""
    if key is not None:
        for blobs in kept:
            if key in blobs:
                return blobs[key]
    return None
