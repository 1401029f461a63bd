"""A bounded share of the chaos, kill and soak commands: the same faults, a gentler load, nothing about time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import kill, soak
from benchmarks.chaos import Report, provoke, rendered
from benchmarks.faults import FAULTS
from benchmarks.results import machine
from benchmarks.rig import NotHere

RATE = 40.0
SHARE = [
    "none",
    "killed",
    "slow_50",
    "errors",
    "read_only",
    "failover",
    "bundle",
    "disk_full",
    "clock",
    "worker",
    "poison",
]


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
    assert (result.lost, result.doubled) == ((), 0)
    assert result.answered > 0
    # On a busy machine an answer may say more than the fault is to blame for, never less.
    assert result.unseen == ()
    assert result.whole_s is not None
    if FAULTS[name].expected:
        assert not FAULTS[name].expected.isdisjoint(result.codes)
    report = Report(at="now", machine=machine(), seconds=1.5, results=(result,), left_out={"other": "is not here"})
    assert FAULTS[name].title in rendered(report)
    assert "left out: other: is not here" in rendered(report)


def test_nothing_acknowledged_is_lost_when_the_service_is_killed_again_and_again(bundle_shelf: Path) -> None:
    report = kill.run(4, RATE, seed=11, shelf=bundle_shelf)
    assert (report.kills, report.frozen) == (4, 1)
    assert report.answers > 0
    assert (report.losses, report.doubled, report.server_errors, report.unanswered) == ((), 0, 0, 0)
    assert "| acknowledged and lost | 0 |" in kill.rendered(report)


def test_a_soak_tells_memory_and_latency_of_every_part(bundle_shelf: Path) -> None:
    report = soak.run(0.1, RATE, shelf=bundle_shelf)
    assert len(report.parts) == soak.PARTS
    for part in report.parts:
        assert part.answered > 0
        assert part.server_errors == 0
        assert part.rss_mib > 20
        assert 0 < part.p50_ms <= part.p99_ms
    assert report.warm_s == pytest.approx(2.4)
    assert "after it memory " in soak.rendered(report)
