"""The journal of a service as a process: killed, deleted under it, without room, or wanted by a second one."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.processes import free_port, running
from service.journal.reader import JournalReader
from service.journal.verify import verify
from tests.end_to_end.test_service_process import Client, Gateway, until


@pytest.fixture
def settings(bundle_shelf: Path, tmp_path: Path) -> dict[str, str]:
    return {"POINTSMAN_BUNDLES": str(bundle_shelf), "POINTSMAN_JOURNAL": str(tmp_path / "journal")}


def test_what_was_answered_before_a_kill_is_found_after_it(settings: dict[str, str], tmp_path: Path) -> None:
    answers = []
    for turn in range(2):
        with running(settings, log=tmp_path / "log") as (url, pid):
            gateways = [Gateway(url, f"{turn}_{number}") for number in range(3)]
            for gateway in gateways:
                gateway.start()
            until(lambda own=gateways: all(len(gateway.answers) > 15 for gateway in own))
            os.kill(pid, signal.SIGKILL)
            for gateway in gateways:
                gateway.join(timeout=15)
            answers += [answer for gateway in gateways for answer in gateway.answers]
    assert all(answer["degraded"] == [] for answer in answers)
    with running(settings, log=tmp_path / "log") as (url, _), Client(url) as client:
        for answer in answers[::7]:
            status, trail = client.get(f"/api/decisions/{answer['decision_id']}")
            assert status == 200
            assert trail["decision"]["answer"] == answer
    with JournalReader(tmp_path / "journal") as reader:
        page = reader.read("0", limit=100_000)
    assert page.gaps == []
    assert [entry.number for entry in page.entries] == list(range(1, len(page.entries) + 1))
    assert {answer["decision_id"] for answer in answers} <= {
        entry.event().answer.decision_id  # type: ignore[union-attr]
        for entry in page.entries
    }
    assert [finding for finding in verify(tmp_path / "journal").findings if finding.is_wrong] == []


def test_without_room_it_answers_all_the_same_and_says_so_everywhere(settings: dict[str, str], tmp_path: Path) -> None:
    floor = {"POINTSMAN_JOURNAL_FLOOR_MIB": "1000000"}
    if shutil.disk_usage(tmp_path).free >> 20 > 1_000_000:
        pytest.skip("a disk with more than a terabyte free always has room")
    with running({**settings, **floor}, log=tmp_path / "log") as (url, _), Client(url) as client:
        assert client.auth("pay_1")["degraded"] == ["journal"]
        assert client.settle("pay_1") == {"results": ["applied"], "degraded": ["journal"]}
        status, ready = client.get("/health/ready")
        assert (status, ready["ready"]) == (200, True)
        assert ready["parts"]["journal"]["state"] == "degraded"
        assert "less than the 1000000 MiB that stay free" in ready["parts"]["journal"]["reason"]
        metrics = client.text("/metrics")
        assert "pointsman_journal_failing 1.0" in metrics
        assert "pointsman_journal_lost_total 2.0" in metrics


def test_its_folder_may_be_deleted_under_it(settings: dict[str, str], tmp_path: Path) -> None:
    with running(settings, log=tmp_path / "log") as (url, _), Client(url) as client:
        first = client.auth("pay_1")
        # In one step, as the writer may be making its next file there.
        shutil.rmtree((tmp_path / "journal").rename(tmp_path / "gone"), ignore_errors=True)
        until(lambda: bool(list((tmp_path / "journal").glob("0/*.log"))))
        second = client.auth("pay_2", card_token="another")
        for answer in (first, second):
            assert answer["degraded"] == []
            assert client.get(f"/api/decisions/{answer['decision_id']}")[0] == 200


def test_a_second_process_as_the_same_worker_does_not_start(settings: dict[str, str], tmp_path: Path) -> None:
    with running(settings, log=tmp_path / "log") as (_, pid):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
        done = subprocess.run(
            [sys.executable, "-m", "service"],
            env={**inherited, **settings, "POINTSMAN_PORT": str(free_port())},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("pointsman: ")]
        assert f"is being written by another process ({pid})" in sentence
