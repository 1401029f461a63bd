"""``python -m service`` as a process: what stops it from starting is one sentence, and it stops when told to."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from service.listen import bind
from tests.servers import RedisServer, free_port

# The process under test, with fakes where `build` would join the real parts.
PROGRAM = """
import sys
import service.app
from service.__main__ import main
from service.journal import open_journal
from service.metrics import Metrics

class Fake:
    active = None
    failing = None
    async def refresh(self): pass
    async def open(self): return None
    async def ping(self): return None
    async def close(self): sys.stderr.write("part closed\\n")

def build(settings, _folder=None):
    metrics = Metrics()
    journal = open_journal(settings.journal, sync=settings.journal_sync, metrics=metrics)
    fake = Fake()
    return service.app.create_app(
        settings, decider=fake, learner=fake, journal=journal, bundles=fake, store=fake, metrics=metrics
    )

service.app.build = build
sys.exit(main())
"""


def run(folder: Path, *, real: bool = False, **variables: str) -> subprocess.Popen[str]:
    """Start the process, with the real parts or with fakes."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    return subprocess.Popen(
        [sys.executable, *(("-m", "service") if real else ("-c", PROGRAM))],
        env={**inherited, "POINTSMAN_JOURNAL": str(folder / "journal"), **variables},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_wrong_setting_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    process = run(tmp_path, POINTSMAN_PROT="1")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said == (
        "pointsman: POINTSMAN_PROT: expected a known variable, nearest is POINTSMAN_PORT, got an unknown variable\n"
    )


def test_a_port_in_use_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    with bind("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        process = run(tmp_path, POINTSMAN_PORT=str(port), POINTSMAN_LOG_LEVEL="error")
        _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said == f"pointsman: cannot listen on 127.0.0.1 port {port}: Address already in use\n"


def test_a_journal_that_cannot_be_written_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("a file where a folder should be")
    process = run(tmp_path, POINTSMAN_PORT=str(free_port()), POINTSMAN_LOG_LEVEL="error")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert said.startswith("pointsman: the journal is unavailable: ")
    assert said.count("\n") == 1


def test_rights_that_are_missing_are_one_sentence_and_exit_code_2(tmp_path: Path, own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.acl_setuser(
            "noscripts", enabled=True, passwords=["+hunter2"], keys=["*"], commands=["+@all", "-@scripting"]
        )
    port = free_port()
    url = f"redis://noscripts:hunter2@127.0.0.1:{own_redis.port}/0"
    process = run(
        tmp_path,
        real=True,
        POINTSMAN_PORT=str(port),
        POINTSMAN_STORE=url,
        POINTSMAN_BUNDLES=str(tmp_path / "bundles"),
        POINTSMAN_LOG_LEVEL="warning",
    )
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert said.startswith("pointsman: the store is unavailable: the server refuses scripts (EVAL) on keys pm:*: ")
    assert said.count("\n") == 1
    assert "hunter2" not in said


def test_a_server_in_cluster_mode_is_one_sentence_and_exit_code_2(tmp_path: Path) -> None:
    server = RedisServer(cluster=True)
    server.start()
    try:
        process = run(
            tmp_path,
            real=True,
            POINTSMAN_PORT=str(free_port()),
            POINTSMAN_STORE=server.url,
            POINTSMAN_BUNDLES=str(tmp_path / "bundles"),
            POINTSMAN_LOG_LEVEL="warning",
        )
        _, said = process.communicate(timeout=60)
    finally:
        server.stop()
    assert process.returncode == 2, said
    assert said.startswith(
        "pointsman: the store is unavailable: a single Redis is expected, this one is in cluster mode"
    )
    assert said.count("\n") == 1


def test_it_serves_until_it_is_told_to_stop_and_then_closes_its_parts(tmp_path: Path) -> None:
    port = free_port()
    process = run(tmp_path, POINTSMAN_PORT=str(port), POINTSMAN_STORE="redis://:hunter2@nowhere:1/0")
    try:
        for _ in range(200):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=10) as answer:
            assert json.load(answer) == {"live": True}
            assert "server" not in answer.headers
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert said.count("part closed\n") == 2
    assert "hunter2" not in said
    assert json.loads(said.splitlines()[0])["settings"]["store"] == "redis://:***@nowhere:1/0"


def test_told_to_stop_it_says_first_that_it_is_not_ready_while_it_still_answers(tmp_path: Path) -> None:
    port = free_port()
    process = run(tmp_path, POINTSMAN_PORT=str(port), POINTSMAN_STORE="memory://", POINTSMAN_DRAIN_DELAY_SECONDS="3")

    def asked(path: str) -> tuple[int, str | None, dict[str, object]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.headers["connection"], json.load(answer)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.headers["connection"], json.load(refused)

    try:
        for _ in range(400):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                time.sleep(0.05)
        assert "server" not in asked("/health/ready")[2]["parts"]  # type: ignore[operator]
        process.send_signal(signal.SIGTERM)
        while "server" not in (ready := asked("/health/ready"))[2]["parts"]:  # type: ignore[operator]
            time.sleep(0.02)
        assert ready[0] == 503
        assert asked("/health/live") == (200, "close", {"live": True})
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said


def test_told_to_look_again_a_service_alone_does_and_goes_on(tmp_path: Path) -> None:
    port = free_port()
    process = run(tmp_path, POINTSMAN_PORT=str(port), POINTSMAN_STORE="memory://", POINTSMAN_DRAIN_DELAY_SECONDS="0")
    try:
        for _ in range(400):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    break
            except OSError:
                time.sleep(0.05)
        process.send_signal(signal.SIGHUP)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=10) as answer:
            assert json.load(answer) == {"live": True}
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 0, said
    assert "told to look again" in said
