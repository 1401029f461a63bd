"""Several workers as real processes: one port, one scrape, one end; one that dies is started again."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service import settings
from service.errors import SettingsError
from tests.servers import RedisServer, free_port

PATIENCE = 60.0


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


class Service:
    """A supervisor of the real service, with workers that share a real Redis."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    def get(self, path: str) -> tuple[int, bytes]:
        # A connection of its own each time: the kernel chooses the worker.
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def workers(self) -> dict[str, int]:
        """Return the workers that tell their figures, and how often each was started again."""
        with suppress(OSError, http.client.HTTPException):
            _, text = self.get("/metrics")
            up = set(re.findall(r'pointsman_worker_up\{worker="(\d)"\} 1', text.decode()))
            restarts = re.findall(r'pointsman_worker_restarts\{worker="(\d)"\} (\d+)', text.decode())
            return {worker: int(count) for worker, count in restarts if worker in up}
        return {}

    def pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def said(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def supervised(folder: Path, redis: RedisServer, **variables: str) -> Iterator[Service]:
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "service"],
            env={
                **inherited,
                "POINTSMAN_WORKERS": "2",
                "POINTSMAN_PORT": str(port),
                "POINTSMAN_STORE": redis.url,
                "POINTSMAN_STORE_TIMEOUT_MS": "2000",
                "POINTSMAN_BUDGET_MS": "5000",
                "POINTSMAN_BUNDLES": str(folder / "bundles"),
                "POINTSMAN_JOURNAL": str(folder / "journal"),
                "POINTSMAN_DRAIN_DELAY_SECONDS": "0",
                "TMPDIR": str(folder),
                **variables,
            },
            stderr=file,
            text=True,
        )
        service = Service(process, port, log)
        try:
            until(lambda: set(service.workers()) == {"0", "1"} or process.poll() is not None)
            yield service
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def test_two_workers_serve_one_port_until_they_are_told_to_stop(tmp_path: Path, own_redis: RedisServer) -> None:
    with supervised(tmp_path, own_redis) as service:
        assert len(service.pids()) == 2
        workers = service.pids()
        assert all(service.get("/health/live") == (200, b'{"live":true}') for _ in range(20))
        service.process.terminate()
        assert service.process.wait(timeout=30) == 0
        assert not any(map(alive, workers))
        with pytest.raises(OSError):
            service.get("/health/live")
    lines = service.said()
    assert {line["worker"] for line in lines if line["message"] == "stopped"} == {0, 1}
    assert lines[-1]["message"] == "all workers have stopped"
    # Each wrote its own events, and knows how far they are in the store.
    assert {path.name for path in (tmp_path / "journal").iterdir()} >= {"0", "1", "applied.0", "applied.1"}
    assert list(tmp_path.glob("pointsman-*")) == []


def test_a_worker_that_is_killed_is_started_again_under_its_number_and_the_other_goes_on(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    with supervised(tmp_path, own_redis) as service:
        before = set(service.pids())
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        # The other one takes all new connections from the moment the killed one's socket is gone.
        until(lambda: any("ended" in line for line in service.said()))
        assert not alive(killed)
        assert all(service.get("/health/live")[0] == 200 for _ in range(20))
        until(lambda: sorted(service.workers().values()) == [0, 1])
        assert len(before & set(service.pids())) == 1
    ended = [line for line in service.said() if "ended" in line]
    assert [line["code"] for line in ended] == [-9]


def test_no_worker_outlives_its_supervisor(tmp_path: Path, own_redis: RedisServer) -> None:
    with supervised(tmp_path, own_redis) as service:
        workers = service.pids()
        service.process.kill()
        service.process.wait()
        until(lambda: not any(map(alive, workers)))


def test_told_to_look_again_every_worker_does(bundle_shelf: Path, tmp_path: Path, own_redis: RedisServer) -> None:
    (tmp_path / "bundles").mkdir()
    with supervised(tmp_path, own_redis, POINTSMAN_BUNDLE_POLL_SECONDS="3600") as service:
        assert service.get("/health/ready")[0] == 503
        pointer = next(path for path in bundle_shelf.iterdir() if path.is_file())
        version = pointer.read_text().strip()
        (tmp_path / "bundles" / version).symlink_to(bundle_shelf / version)
        (tmp_path / "bundles" / pointer.name).write_text(pointer.read_text())
        service.process.send_signal(signal.SIGHUP)

        def active() -> bool:
            return service.get("/metrics")[1].count(b'version="' + version.encode()) == 2

        until(active)


def test_a_second_service_does_not_share_the_port_by_mistake(tmp_path: Path, own_redis: RedisServer) -> None:
    with supervised(tmp_path, own_redis) as service:
        for workers in ("1", "2"):
            second = subprocess.run(
                [sys.executable, "-m", "service"],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")},
                    "POINTSMAN_WORKERS": workers,
                    "POINTSMAN_PORT": str(service.port),
                    "POINTSMAN_STORE": own_redis.url,
                    "POINTSMAN_JOURNAL": str(tmp_path / "other"),
                    "POINTSMAN_LOG_LEVEL": "error",
                },
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
            assert second.returncode == 2
            assert second.stderr == (
                f"pointsman: cannot listen on 127.0.0.1 port {service.port}: Address already in use\n"
            )


def test_state_that_no_other_process_sees_is_refused_with_several_workers() -> None:
    with pytest.raises(SettingsError) as refused:
        settings.load({"POINTSMAN_WORKERS": "2"})
    assert str(refused.value) == (
        "POINTSMAN_WORKERS: expected 1 with a memory:// store, which no other process can see "
        "(workers share a redis:// store), got 2"
    )
    with pytest.raises(SettingsError):
        settings.load({"POINTSMAN_WORKERS": "2", "POINTSMAN_STORE": "memory:///var/lib/state"})
    assert settings.load({"POINTSMAN_WORKERS": "2", "POINTSMAN_STORE": "redis://h:1/0"}).workers == 2


def test_the_number_of_a_worker_is_not_for_people_to_set() -> None:
    with pytest.raises(SettingsError, match="POINTSMAN_WORKER: expected to be set by the supervisor"):
        settings.load({"POINTSMAN_WORKER": "1"})


SUPERVISOR = """
import sys
from service import logs
from service.supervise import Supervisor

logs.configure("info")
command = [sys.executable, "-c", sys.argv[2]]
sys.exit(Supervisor(2, stop_seconds=float(sys.argv[1]), command=lambda _: command).run())
"""


@contextmanager
def supervising(worker: str, stop_seconds: float = 30.0) -> Iterator[subprocess.Popen[str]]:
    """Run a supervisor over two processes that run a program of ours."""
    program = "import os, signal, sys, time\nnumber = os.environ['POINTSMAN_WORKER']\n" + textwrap.dedent(worker)
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(stop_seconds), program], stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_one_that_is_refused_by_its_settings_at_its_first_start_is_the_end_of_all(tmp_path: Path) -> None:
    mark = tmp_path / "other"
    other = f"""
    if number == "1":
        sys.exit(2)
    signal.signal(signal.SIGTERM, lambda *_: (open({str(mark)!r}, "w").close(), sys.exit(0)))
    time.sleep(60)
    """
    with supervising(other) as process:
        assert process.wait(timeout=30) == 2


def test_one_that_ends_again_and_again_is_started_again_after_longer_and_longer(tmp_path: Path) -> None:
    marks = tmp_path / "starts"
    worker = f"""
    if number == "1":
        open({str(marks)!r}, "a").write(sys.argv[sys.argv.index("--restarts") + 1] + " ")
        sys.exit(3)
    time.sleep(60)
    """
    with supervising(worker) as process:
        until(lambda: marks.is_file() and len(marks.read_text().split()) >= 5)
        process.terminate()
        _, said = process.communicate(timeout=30)
    assert marks.read_text().split()[:5] == ["0", "1", "2", "3", "4"]
    waits = [json.loads(line)["again_in_seconds"] for line in said.splitlines() if "again_in_seconds" in line]
    assert waits[:4] == sorted(waits[:4])
    assert waits[3] >= 4 * waits[0]


def test_one_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "deaf"
    worker = f"""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open({str(mark)!r} + number, "w").write(str(os.getpid()))
    time.sleep(600)
    """
    with supervising(worker, stop_seconds=-4.5) as process:
        until(lambda: all(Path(f"{mark}{number}").is_file() and Path(f"{mark}{number}").read_text() for number in "01"))
        pids = [int(Path(f"{mark}{number}").read_text()) for number in "01"]
        process.terminate()
        _, said = process.communicate(timeout=30)
        assert process.returncode == 1
    assert not any(map(alive, pids))
    assert said.count('"a worker does not stop and is killed"') == 2
