"""How chaos, kill and soak judge what they saw: by what answers said themselves, and beside the same load without a fault."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from benchmarks.caller import Answer, Call
from benchmarks.chaos import Report, is_kept, rendered, row
from benchmarks.kept import Counted, Journalled
from benchmarks.promises import Loss, is_unpromised, kept
from benchmarks.results import machine
from benchmarks.soak import Sample, growth, warm_up
from benchmarks.verdict import Floor, Result, floor_of, judged, recovery, unexpected, written_since

WELL = Result(
    fault="killed",
    title="Redis killed",
    rate=500.0,
    due=1000,
    answered=1000,
    asked_again=0,
    server_errors=0,
    unanswered=0,
    refused=0,
    p99_before_ms=1.0,
    p99_ms=20.0,
    worst_ms=30.0,
    recovered_s=0.5,
    first_whole_s=0.5,
    whole_s=0.5,
    written=7,
    lost=(),
    doubled=0,
    codes={},
    unexpected={},
)
CONTROL = msgspec.structs.replace(WELL, fault="none", title="No fault")
LOSS = Loss(
    payment="p",
    decision="d",
    kind="auth",
    lacks="store",
    degraded=(),
    results=(),
    processor="atlas",
    due_s=1.0,
    done_s=1.1,
    tries=1,
)


def call(kind: str, name: str, *, due: float = 0.0, seconds: float = 0.001, **said: Any) -> Call:
    made = Call(kind, name, b"")
    made.due, made.done, made.status, made.tries = due, due + seconds, 200, 1
    made.answer = Answer(**{"decision_id": f"d_{name}", **said})
    return made


def journal(decisions: set[str], reported: set[str]) -> Journalled:
    return Journalled(decisions, Counter(reported), reported)


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({"server_errors": 1}, "keeps_promises"),
        ({"unanswered": 1}, "keeps_promises"),
        ({"refused": 1}, "keeps_promises"),
        ({"doubled": 1}, "keeps_promises"),
        ({"lost": (LOSS,)}, "keeps_promises"),
        ({"p99_ms": 50.1}, "is_fast"),
        ({"recovered_s": 2.5}, "is_back"),
        ({"whole_s": 2.1}, "is_written"),
        ({"whole_s": None}, "is_written"),
        ({"unseen": ("features:store_timeout",)}, "says_right"),
        ({"unexpected": {"journal": {0: 6, 3: 5}}, "codes": {"journal": 11}}, "says_right"),
    ],
)
def test_each_target_is_judged_for_itself(change: dict[str, Any], broken: str) -> None:
    result = msgspec.structs.replace(WELL, **change)
    verdict = msgspec.structs.asdict(judged(result, Floor()))
    assert {name for name, is_met in verdict.items() if not is_met} == {broken}
    report = Report(at="", machine=machine(), seconds=1.0, results=(CONTROL, result, CONTROL), left_out={})
    assert is_kept(report) == (broken not in {"keeps_promises", "says_right"})
    assert rendered(report).count("\nlost: ") == len(result.lost)


def test_what_answers_say_without_a_fault_is_not_held_against_one() -> None:
    said = {"journal": {0: 6, 3: 24}}
    result = msgspec.structs.replace(WELL, unexpected=said, codes={"journal": 30})
    noisy = msgspec.structs.replace(CONTROL, unexpected={"journal": {1: 20}}, codes={"journal": 20}, p99_ms=60.0)
    assert not judged(result, floor_of([CONTROL, result])).says_right
    floor = floor_of([CONTROL, result, noisy])
    assert (floor.p99_ms, floor.codes) == (60.0, {"journal": 0.02})
    # As many as without a fault, and one in a hundred.
    assert judged(result, floor).says_right
    assert not judged(msgspec.structs.replace(result, unexpected={"journal": {0: 31}}), floor).says_right
    # The reader sees how many, and when.
    assert "not of the fault: `journal` 30 (second 0: 6, second 3: 24)" in row(result, floor)
    assert "no, without a fault too" in row(msgspec.structs.replace(result, p99_ms=55.0), floor)


def test_a_recovery_ends_with_the_last_half_second_that_was_not_whole() -> None:
    def half(place: int, bad: int, **how: Any) -> list[Call]:
        calls = [call("auth", f"{place}_{number}", due=10 + place / 2 + number / 500) for number in range(200 - bad)]
        return calls + [call("auth", f"{place}_b{number}", due=10 + place / 2, **how) for number in range(bad)]

    late: dict[str, Any] = {"degraded": ["journal"]}
    assert recovery([each for place in range(6) for each in half(place, 0)], 10.0, 13.0) == (0.0, 0.0)
    # One in a hundred is left to the machine.
    assert recovery([each for place in range(6) for each in half(place, 2, **late)], 10.0, 13.0) == (0.0, 0.0)
    calls = [each for place in range(6) for each in half(place, 3 if place in {0, 3} else 0, **late)]
    assert recovery(calls, 10.0, 13.0) == (0.5, 2.0)
    slow = [each for place in range(6) for each in half(place, 3 if place == 1 else 0, seconds=0.051)]
    assert recovery(slow, 10.0, 13.0) == (0.0, 1.0)
    # A window without a request is none that was whole.
    assert recovery([each for place in (0, 1, 2, 4, 5) for each in half(place, 0)], 10.0, 13.0) == (0.0, 2.0)


def test_codes_that_a_fault_is_not_to_blame_for_are_counted_by_second() -> None:
    calls = [
        call("auth", "a", due=5.1, degraded=["journal", "features:last_known"]),
        call("auth", "b", due=5.9, degraded=["journal"]),
        call("outcome", "a", due=7.0, degraded=["journal"]),
    ]
    assert unexpected(calls, frozenset({"features:last_known"}), 5.0) == {"journal": {0: 2, 2: 1}}


def test_what_was_written_later_is_counted_across_a_restart() -> None:
    assert written_since([(1.0, 5), (2.0, 9), (3.0, 2), (4.0, 6)], 1.5) == 4 + 2 + 4
    assert written_since([], 0.0) == 0


@pytest.mark.parametrize("dies", [True, False])
def test_only_an_answer_that_said_so_itself_promises_nothing(dies: bool) -> None:
    neither = ["ledger:store_timeout", "journal"]
    calls = [
        call("auth", "neither", processor="atlas", degraded=neither),
        call("auth", "record", processor="atlas", degraded=["ledger:store_timeout"]),
        call("auth", "store", processor="atlas", degraded=["journal"]),
        call("auth", "both", processor="atlas"),
        call("auth", "nothing", processor=None),
    ]
    assert [is_unpromised(each) for each in calls] == [True, False, False, False, False]
    held = kept(calls, journal(set(), set()), Counted(set(), set(), 0, 0), dies=dies)
    lost = {(loss.payment, loss.lacks) for loss in held.losses}
    promised = {
        ("record", "journal"),
        ("record", "store"),
        ("store", "store"),
        ("both", "journal"),
        ("both", "store"),
        ("nothing", "journal"),
    }
    assert lost == promised | (set() if dies else {("neither", "store")})
    assert (held.unpromised, held.gone) == (1, 1)
    assert {loss.degraded for loss in held.losses if loss.payment == "record"} == {("ledger:store_timeout",)}


def test_a_receipt_promises_what_it_says() -> None:
    calls = [
        call("auth", "gone", processor="atlas", degraded=["ledger:store_timeout", "journal"]),
        call("outcome", "gone", results=["kept"]),
        call("outcome", "applied", results=["applied"]),
        call("outcome", "pending", results=["kept"], degraded=["state:store_timeout"]),
        call("outcome", "strange", results=["kept"]),
        call("outcome", "neither", results=["kept"], degraded=["state:store_timeout", "journal"]),
    ]
    there = journal(set(), {"gone", "applied", "pending", "strange"})
    held = kept(calls, there, Counted(set(), set(), 0, 0), dies=True)
    lost = [(loss.payment, loss.lacks) for loss in held.losses]
    # What nobody promised can be matched by nobody; of a payment that was promised a receipt must know.
    assert lost == [("applied", "store"), ("pending", "store"), ("strange", "match")]
    # The payment of one is gone with its record; the other's receipt is nowhere.
    assert (held.unpromised, held.gone) == (2, 2)


def test_what_is_counted_twice_is_told() -> None:
    twice = Journalled(set(), Counter({"a": 2, "b": 1}), {"a", "b"})
    assert kept([], twice, Counted({"a"}, set(), 2, 0)).doubled == 2


def test_growth_is_of_what_comes_after_the_warm_up() -> None:
    assert [warm_up(seconds) for seconds in (60.0, 180.0, 600.0, 1800.0)] == [24.0, 72.0, 120.0, 360.0]
    filling = [Sample(at, min(100.0 + at, 150.0)) for at in range(100)]
    # It fills until second 50 and stays.
    assert growth(filling, 50.0, 100.0) == pytest.approx((0.0, 0.0), abs=1e-9)
    leaking = [Sample(at, 100.0 + at / 10) for at in range(101)]
    grown, trend = growth(leaking, 0.0, 100.0)
    assert grown == pytest.approx(0.08, rel=0.05)
    assert trend == pytest.approx(360.0)
