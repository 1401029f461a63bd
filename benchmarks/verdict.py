"""What came of one fault, and how it is judged: against the promises, and against the same load without a fault.

This module must not know how a fault is made or load is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from benchmarks import kept, promises
from benchmarks.caller import Call
from benchmarks.ordeal import Ordeal
from benchmarks.promises import Loss

MOST_MS: Final = 50.0
"""The target of the p99 during a fault."""
MOST_SECONDS: Final = 2.0
"""The target of the time from a fault's end until all is as before."""
WINDOW: Final = 0.5
"""Seconds of the windows in which a recovery is looked for."""
WHOLE: Final = 0.99
"""Share of a window's requests that are to be answered with nothing missing and in time."""
LEEWAY: Final = 0.01
"""Share of the answers that may say more than the fault is to blame for: as many as a p99 leaves to the machine."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one fault.

    Attributes
    ----------
    due, answered, asked_again
        Requests due during the fault, those of them that were answered with 200, and those of the whole run that were asked
        again because their connection was lost.
    server_errors, unanswered, refused
        Over the whole run: answers of 5xx, requests without an answer, and answers of 4xx.
    p99_before_ms, p99_ms, worst_ms
        Of requests due before and during the fault, from due to answered.
    recovered_s
        From the end of the fault until the end of the last half second that was not whole: of the requests due in it, fewer
        than 99 % were answered with nothing missing within 50 ms. 0 when all were whole.
    first_whole_s
        From the end of the fault until the first half second began that was whole.
    whole_s
        From the end of the fault until the store had every update acknowledged before it; None when it never had.
    written
        Updates that the service says to have written later, over the whole run.
    lost
        Acknowledgements of which the journal or the store has nothing.
    doubled
        Updates that the store has counted more than once, and results said to be applied twice.
    codes
        What answers and receipts said they had to do without during the fault, and how often.
    unexpected
        Of these, the codes that the fault is not to blame for: by second since its beginning, how often.
    unseen
        Codes of which one was to be seen, when none was.
    """

    fault: str
    title: str
    rate: float
    due: int
    answered: int
    asked_again: int
    server_errors: int
    unanswered: int
    refused: int
    p99_before_ms: float
    p99_ms: float
    worst_ms: float
    recovered_s: float
    first_whole_s: float
    whole_s: float | None
    written: int
    lost: tuple[Loss, ...]
    doubled: int
    codes: dict[str, int]
    unexpected: dict[str, dict[int, int]]
    unseen: tuple[str, ...] = ()

    @property
    def is_control(self) -> bool:
        """Whether there was no fault."""
        return self.fault == "none"


class Floor(msgspec.Struct, frozen=True, kw_only=True):
    """The worst of the rows without a fault: what this machine did to the same load in the same run."""

    p99_ms: float = 0.0
    recovered_s: float = 0.0
    codes: dict[str, float] = {}
    """Share of the answers that said each."""


def floor_of(results: Iterable[Result]) -> Floor:
    """Return the floor of a run."""
    controls = [each for each in results if each.is_control]
    codes: dict[str, float] = {}
    for each in controls:
        for code, count in each.codes.items():
            codes[code] = max(codes.get(code, 0.0), count / max(1, each.due))
    return Floor(
        p99_ms=max((each.p99_ms for each in controls), default=0.0),
        recovered_s=max((each.recovered_s for each in controls), default=0.0),
        codes=codes,
    )


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a result comes to.

    Attributes
    ----------
    keeps_promises
        Nothing lost, doubled, refused, unanswered or answered with 5xx.
    is_fast, is_back, is_written
        Whether the p99 during the fault, the recovery, and the writing of what was missed are within their targets.
    says_right
        Whether answers said what the fault is to blame for, and nothing else but for what the machine is.
    """

    keeps_promises: bool
    is_fast: bool
    is_back: bool
    is_written: bool
    says_right: bool


def judged(each: Result, floor: Floor) -> Verdict:
    """Judge a result beside the rows without a fault."""
    most = {code: each.due * (LEEWAY + floor.codes.get(code, 0.0)) for code in each.unexpected}
    broken = each.server_errors or each.unanswered or each.refused or each.lost or each.doubled
    return Verdict(
        keeps_promises=not broken,
        is_fast=each.p99_ms <= MOST_MS,
        is_back=each.recovered_s <= MOST_SECONDS,
        is_written=each.whole_s is not None and each.whole_s <= MOST_SECONDS,
        says_right=not each.unseen
        and all(sum(counts.values()) <= most[code] for code, counts in each.unexpected.items()),
    )


def result_of(ordeal: Ordeal, rate: float) -> Result:
    """Count what came of a fault."""
    fault, traffic, seen = ordeal.fault, ordeal.traffic, ordeal.seen
    during = list(traffic.during(seen.wrong_at, seen.well_at))
    with ordeal.client() as client:
        store = kept.counted(client, traffic.shop, traffic.payments)
    # A store that came back empty has lost what it had acknowledged before, and that is not the service's to keep.
    since = seen.wrong_at if fault.empties else 0.0
    journal = kept.journalled(kept.events(ordeal.rig.journal))
    told = [call for call in traffic.calls if call.done >= since]
    held = promises.kept(told, journal, store, dies=fault.kills, began=seen.began)
    statuses = Counter(call.status for call in traffic.calls)
    codes = Counter(code for call in during if call.answer is not None for code in call.answer.degraded)
    first_whole, recovered = recovery(traffic.during(seen.well_at, seen.ended), seen.well_at, seen.ended)
    return Result(
        fault=ordeal.name,
        title=fault.title,
        rate=rate,
        due=len(during),
        answered=sum(call.status == 200 for call in during),
        asked_again=sum(call.tries > 1 for call in traffic.calls),
        server_errors=sum(count for status, count in statuses.items() if status >= 500),
        unanswered=statuses[0],
        refused=sum(count for status, count in statuses.items() if 400 <= status < 500),
        p99_before_ms=_quantile(list(traffic.during(seen.began, seen.wrong_at)), 0.99),
        p99_ms=_quantile(during, 0.99),
        worst_ms=_quantile(during, 1.0),
        recovered_s=recovered,
        first_whole_s=first_whole,
        whole_s=None if seen.whole_at is None else round(seen.whole_at - seen.well_at, 3),
        written=written_since(seen.written, seen.wrong_at),
        lost=held.losses,
        doubled=held.doubled,
        codes=dict(codes.most_common()),
        unexpected=unexpected(during, fault.allowed, seen.wrong_at),
        unseen=tuple(sorted(fault.expected)) if fault.expected and fault.expected.isdisjoint(codes) else (),
    )


def recovery(calls: Iterable[Call], well_at: float, ended: float) -> tuple[float, float]:
    """Return when after a fault's end the first whole window began, and when the last ended that was not whole.

    Parameters
    ----------
    calls
        Due from the fault's end on.
    well_at, ended
        The fault's end and the load's, of `time.perf_counter`; what is left of a window at the load's end is not looked at.
    """
    windows: dict[int, list[bool]] = {}
    for call in calls:
        is_whole = call.is_whole and call.seconds * 1000 <= MOST_MS
        windows.setdefault(int((call.due - well_at) / WINDOW), []).append(is_whole)
    first, last = ended - well_at, 0.0
    for place in range(int((ended - well_at) / WINDOW)):
        inside = windows.get(place, [])
        # A window in which nothing was even due says nothing good.
        if inside and sum(inside) >= WHOLE * len(inside):
            first = min(first, place * WINDOW)
        else:
            last = (place + 1) * WINDOW
    return first, last


def unexpected(calls: Iterable[Call], allowed: frozenset[str], began: float) -> dict[str, dict[int, int]]:
    """Return of each code that is not allowed, by second since `began`, how often it was said."""
    found: dict[str, dict[int, int]] = {}
    for call in calls:
        for code in call.answer.degraded if call.answer is not None else ():
            if code not in allowed:
                seconds = found.setdefault(code, {})
                second = int(call.due - began)
                seconds[second] = seconds.get(second, 0) + 1
    return found


def written_since(written: Sequence[tuple[float, int]], moment: float) -> int:
    """Return by how much a counter grew from a moment on; a process that began anew counts from zero."""
    total = before = 0
    for at, count in written:
        if at > moment:
            total += count - before if count >= before else count
        before = count
    return total


def _quantile(calls: Sequence[Call], share: float) -> float:
    seconds = [call.seconds for call in calls if call.status]
    return float(np.quantile(seconds, share)) * 1000 if seconds else 0.0
