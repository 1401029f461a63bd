"""What answers promised, and whether it was kept: in the journal, in the store, once.

An answer says itself what it does not promise: ``journal`` that it may not be on record, ``ledger:...`` that its attempt is not
in the store yet (it is written from the journal later). One that says both promises nothing that outlives its process. This
module must not know what went wrong.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from benchmarks.caller import Call
from benchmarks.fault import UNTAKEN
from benchmarks.kept import Counted, Journalled

JOURNAL: Final = "journal"


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One acknowledgement that was not kept, with all that is known of it.

    Attributes
    ----------
    payment, decision, kind
        Whose it is, which decision answered it, and whether it was an answer ("auth") or a receipt ("outcome").
    lacks
        Where it is missing: "journal" or "store"; "match" when a receipt said that nothing was known of an acknowledged payment.
    degraded, results, processor
        What it said.
    due_s, done_s
        When it was due and acknowledged, in seconds of the run.
    tries
        How often it was asked.
    journalled
        What the journal has of its payment: writer, number, segment, and what the event says.
    stored
        What the store has of its payment.
    context
        What the run knows of the moment.
    """

    payment: str
    decision: str
    kind: str
    lacks: str
    degraded: tuple[str, ...]
    results: tuple[str, ...]
    processor: str | None
    due_s: float
    done_s: float
    tries: int
    journalled: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    context: str = ""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """How promises were kept.

    Attributes
    ----------
    losses
        Those that were not.
    unpromised, gone
        Answers and receipts that said that neither journal nor store had them yet, and those of them that are missing indeed.
    doubled
        Updates that were counted more than once, and results said to be applied twice.
    """

    losses: tuple[Loss, ...]
    unpromised: int
    gone: int
    doubled: int


def is_unpromised(call: Call) -> bool:
    """Tell whether an acknowledgement said that neither the journal nor the store had it yet."""
    if call.answer is None or JOURNAL not in call.answer.degraded:
        return False
    if call.kind == "auth":
        return not UNTAKEN.isdisjoint(call.answer.degraded)
    return any(code.startswith("state:") for code in call.answer.degraded)


def kept(calls: Sequence[Call], journal: Journalled, store: Counted, *, dies: bool = False, began: float = 0.0) -> Kept:
    """Compare what was said with what there is.

    Parameters
    ----------
    calls
        What was answered.
    journal, store
        What there is of it.
    dies
        Whether a process that answered was ended meanwhile, so that what was not promised may be gone.
    began
        The moment of `time.perf_counter` from which the run counts its seconds.
    """
    losses: list[Loss] = []
    loose = {call.name for call in calls if call.kind == "auth" and is_unpromised(call)} if dies else set[str]()
    unpromised = gone = 0
    for call in calls:
        if call.status != 200 or call.answer is None:
            continue
        is_loose = is_unpromised(call)
        lacking = _lacking(call, journal, store, loose)
        unpromised += is_loose
        gone += is_loose and bool(lacking)
        if not (is_loose and dies):
            losses += [_loss(call, lacks, began) for lacks in lacking]
    twice = sum(count - 1 for count in journal.settled.values() if count > 1)
    return Kept(losses=tuple(losses), unpromised=unpromised, gone=gone, doubled=abs(store.doubled) + twice)


def _lacking(call: Call, journal: Journalled, store: Counted, loose: set[str]) -> list[str]:
    """Return where an acknowledgement is missing."""
    answer = call.answer
    assert answer is not None
    lacks = []
    if call.kind == "auth":
        if JOURNAL not in answer.degraded and answer.decision_id not in journal.decisions:
            lacks.append("journal")
        if answer.processor is not None and call.name not in store.attempts:
            lacks.append("store")
        return lacks
    if JOURNAL not in answer.degraded and call.name not in journal.reported:
        lacks.append("journal")
    if call.name not in store.results and call.name not in loose:
        is_matched = answer.results != ["kept"] or any(code.startswith("state:") for code in answer.degraded)
        lacks.append("store" if is_matched else "match")
    return lacks


def _loss(call: Call, lacks: str, began: float) -> Loss:
    answer = call.answer
    assert answer is not None
    return Loss(
        payment=call.name,
        decision=answer.decision_id,
        kind=call.kind,
        lacks=lacks,
        degraded=tuple(answer.degraded),
        results=tuple(answer.results),
        processor=answer.processor,
        due_s=round(call.due - began, 3),
        done_s=round(call.done - began, 3),
        tries=call.tries,
    )
