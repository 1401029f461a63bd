"""A gateway's own counts of three days, minute by minute, with bursts of trouble in them: what would have been noticed, and when?

The counts are data that nobody here wrote and that is not part of the project (`FOLDER`). Transactions come by status: approved,
denied, failed, reversed by the backend, and what became of approved ones later (reversed, refunded: left out). Authorisation
codes say that every denial is the issuer's (51 funds, 59 suspected fraud). What is a burst follows from the counts (`bursts`).
"""

import csv
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from benchmarks.incidents import micros_of
from service.policy.standings import standings_of
from service.standing import Note, add

FOLDER: Final = Path(__file__).parents[2] / "shared" / "data"
TRANSACTIONS: Final = "gateway_transactions_per_minute.csv"
CODES: Final = "gateway_auth_codes_per_minute.csv"
DENIED_FROM: Final = 13
"""Denials in a minute that belong to a burst: the median is 6, and of 4,320 minutes 96 % stay below."""
BURST: Final = 5
"""Minutes of a burst at least."""
APART: Final = 10
"""Minutes between two bursts at least."""
AFTER: Final = 30
"""Minutes after a burst in which a sign is still the burst's own."""
SHIFTED: Final = -0.3
"""Shift of log-odds that counts as noticed."""
EXCESS: Final = 0.01
"""Excess that counts as noticed."""


class Minute(NamedTuple):
    """What was counted in one minute; faults are failed and reversed by the backend."""

    approved: int
    denied: int
    faults: int


class Burst(NamedTuple):
    """Minutes from `first` to `last`, both in it, and what there was too much of: "faults" or "denied"."""

    kind: str
    first: int
    last: int


class Noticed(NamedTuple):
    """What one way of watching made of the bursts of a kind.

    Attributes
    ----------
    delays
        For each burst the seconds from the beginning of its first minute to the first sign, None for one that was missed.
    false_alarms
        Signs that began outside of any burst of the kind, and not within `AFTER` minutes of its end.
    days
        Of the data.
    """

    delays: tuple[float | None, ...]
    false_alarms: int
    days: float

    @property
    def found(self) -> list[float]:
        """The delays of the bursts that were noticed."""
        return [delay for delay in self.delays if delay is not None]

    @property
    def line(self) -> str:
        """In words."""
        found = self.found
        when = f"after {min(found):.0f} / {median(found):.0f} / {max(found):.0f} s" if found else "-"
        return f"{len(found)} of {len(self.delays)}, {when}, {self.false_alarms / self.days:.1f} false alarms a day"


def read(folder: Path = FOLDER) -> list[Minute]:
    """Read the counts, minute by minute.

    Raises
    ------
    ValueError
        The two files contradict each other: a denial is then not the issuer's.
    """
    counts: dict[str, Counter[str]] = {}
    with (folder / TRANSACTIONS).open(newline="") as file:
        for row in csv.DictReader(file):
            counts.setdefault(row["timestamp"], Counter())[row["status"]] += int(row["count"])
    denied: Counter[str] = Counter()
    with (folder / CODES).open(newline="") as file:
        for row in csv.DictReader(file):
            if row["auth_code"] in {"51", "59"}:
                denied[row["timestamp"]] += int(row["count"])
    wrong = [moment for moment, count in counts.items() if count["denied"] != denied[moment]]
    if wrong:
        msg = f"expected as many denials as codes 51 and 59 in every minute, not so at {wrong[0]} and {len(wrong) - 1} others"
        raise ValueError(msg)
    return [
        Minute(count["approved"], count["denied"], count["failed"] + count["backend_reversed"])
        for _, count in sorted(counts.items())
    ]


def bursts(minutes: Sequence[Minute]) -> list[Burst]:
    """Find the bursts: minutes with any fault, as outside of them there is none in three days, and minutes of many denials."""
    found = []
    for kind, of_kind in (
        ("faults", [minute.faults > 0 for minute in minutes]),
        ("denied", [minute.denied >= DENIED_FROM for minute in minutes]),
    ):
        spans: list[list[int]] = []
        for number in [number for number, hit in enumerate(of_kind) if hit]:
            if spans and number - spans[-1][-1] <= APART:
                spans[-1].append(number)
            else:
                spans.append([number])
        found += [Burst(kind, span[0], span[-1]) for span in spans if len(span) >= BURST]
    return found


def service_signs(minutes: Sequence[Minute], seed: int) -> dict[str, list[float]]:
    """Return when the service begins to see trouble of each kind, seconds since the start.

    The results of a minute come in random order at random moments of it. The model is taken to expect the approval rate of the
    first six hours.
    """
    draw = random.Random(seed)
    early = minutes[:360]
    answered = sum(minute.approved + minute.denied for minute in early)
    expected = sum(minute.approved for minute in early) / answered
    blob: bytes | None = None
    signs: dict[str, list[float]] = {"faults": [], "denied": []}
    seen = dict.fromkeys(signs, False)
    for number, minute in enumerate(minutes):
        results = [0] * minute.approved + [1] * minute.denied + [2] * minute.faults
        draw.shuffle(results)
        for second, result in zip(sorted([draw.uniform(0.0, 60.0) for _ in results]), results, strict=True):
            now = 60.0 * number + second
            blob = add(blob, Note(micros_of(now), fault=result == 2, approved=result == 0, expected=expected))
            (standing,) = standings_of(("a",), (blob, None, None), micros_of(now))
            for kind, sees in (
                ("faults", standing.health != "up" or standing.excess >= EXCESS),
                ("denied", standing.shift <= SHIFTED),
            ):
                if sees and not seen[kind]:
                    signs[kind].append(now)
                seen[kind] = sees
    return signs


def threshold_signs(minutes: Sequence[Minute], share: float) -> dict[str, list[float]]:
    """Return when a threshold on each minute's share of faults, or of denials, is passed; it is known when the minute ends."""
    signs: dict[str, list[float]] = {"faults": [], "denied": []}
    for kind in signs:
        before = False
        for number, minute in enumerate(minutes):
            passed = getattr(minute, kind) > share * sum(minute)
            if passed and not before:
                signs[kind].append(60.0 * (number + 1))
            before = passed
    return signs


def noticed(minutes: Sequence[Minute], kind: str, signs: Sequence[float]) -> Noticed:
    """Hold signs against the bursts of their kind."""
    mine = [burst for burst in bursts(minutes) if burst.kind == kind]
    delays: list[float | None] = []
    for burst in mine:
        begins, ends = 60.0 * burst.first, 60.0 * (burst.last + 1)
        delays.append(next((sign - begins for sign in signs if begins <= sign <= ends), None))
    stray = [
        sign for sign in signs if not any(60.0 * burst.first <= sign < 60.0 * (burst.last + AFTER) for burst in mine)
    ]
    return Noticed(tuple(delays), len(stray), len(minutes) / 1440.0)
