"""A bounded share of the chaos, kill and soak commands: the same faults, a gentler load, nothing about time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import kill, soak
from benchmarks.chaos import Report, Result, provoke, rendered
from benchmarks.faults import FAULTS
from benchmarks.results import machine
from benchmarks.rig import NotHere

RATE = 40.0
SHARE = ["killed", "slow_50", "errors", "read_only", "failover", "bundle", "disk_full", "clock", "worker", "poison"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The commands write below the folder they are started in, and keep this process to some cores."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.chdir(tmp_path)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    yield
    if cores:
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize("name", SHARE)
def test_a_fault_costs_no_answer_and_nothing_is_lost_or_counted_twice(name: str, bundle_shelf: Path) -> None:
    try:
        result = provoke(name, rate=RATE, seconds=1.5, after=1.5, warm=1.0, shelf=bundle_shelf)
    except NotHere as error:
        pytest.skip(str(error))
    assert (result.server_errors, result.unanswered, result.refused) == (0, 0, 0)
    assert (result.lost, result.doubled) == (0, 0)
    assert result.answered > 0
    # On a busy machine an answer may say more than the fault is to blame for, never less.
    assert [code for code in result.wrong if code.startswith("none of")] == []
    if FAULTS[name].expected:
        assert not FAULTS[name].expected.isdisjoint(result.codes)
    report = Report(at="now", machine=machine(), seconds=1.5, results=(result,), left_out={"other": "is not here"})
    assert FAULTS[name].title in rendered(report)
    assert "left out: other: is not here" in rendered(report)


def test_a_broken_promise_is_told() -> None:
    well = {"answered": 1, "asked_again": 0, "server_errors": 0, "unanswered": 0, "refused": 0, "lost": 0, "doubled": 0}
    figures = dict.fromkeys(("p99_before_ms", "p99_ms", "worst_ms", "recovered_s", "written_s", "rate"), 1.0)
    whole = Result(fault="killed", title="", written=0, codes={}, wrong=(), **figures, **well)  # type: ignore[arg-type]
    assert whole.is_kept
    for name in ("server_errors", "unanswered", "refused", "lost", "doubled"):
        broken = {**well, name: 1}
        told = Result(fault="killed", title="", written=0, codes={}, wrong=(), **figures, **broken)  # type: ignore[arg-type]
        assert not told.is_kept
    assert not Result(fault="", title="", written=0, codes={}, wrong=("x",), **figures, **well).is_kept  # type: ignore[arg-type]


def test_nothing_acknowledged_is_lost_when_the_service_is_killed_again_and_again(bundle_shelf: Path) -> None:
    report = kill.run(4, RATE, seed=11, shelf=bundle_shelf)
    assert (report.kills, report.frozen) == (4, 1)
    assert report.answers > 0
    assert (report.lost, report.doubled, report.server_errors, report.unanswered) == (0, 0, 0, 0)
    assert "| acknowledged and lost | 0 |" in kill.rendered(report)


def test_a_soak_tells_memory_and_latency_of_every_part(bundle_shelf: Path) -> None:
    report = soak.run(0.1, RATE, shelf=bundle_shelf)
    assert len(report.parts) == soak.PARTS
    for part in report.parts:
        assert part.answered > 0
        assert part.server_errors == 0
        assert part.rss_mib > 20
        assert 0 < part.p50_ms <= part.p99_ms
    assert "memory " in soak.rendered(report)
