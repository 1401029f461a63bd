"""The service as a process: bundles change under load, state lives in Redis, and a stop loses nothing."""

import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec
import numpy as np
import pytest

from benchmarks.processes import running
from contracts.bundle import Manifest
from features.assemble import WIDTH
from features.catalog import FINGERPRINT, POSITION
from service.journal.reader import JournalReader
from tests.parts import PAYMENT, activate, add_bundle
from tests.servers import RedisServer

WAIT_SECONDS = 15.0


class Client:
    """One connection that stays open as long as its context."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, {"content-type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())

    def raw(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Ask and return the answer's own bytes."""
        named = {"content-type": "application/json", **(headers or {})}
        self.connection.request("POST", path, json.dumps(body), named)
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def text(self, path: str) -> str:
        self.connection.request("GET", path)
        return self.connection.getresponse().read().decode()

    def get(self, path: str) -> tuple[int, Any]:
        return self.ask("GET", path)

    def auth(self, payment_id: str, **fields: Any) -> dict[str, Any]:
        status, answer = self.ask("POST", "/api/decisioning/auth", {**PAYMENT, "payment_id": payment_id, **fields})
        assert status == 200, answer
        return dict(answer)

    def settle(self, payment_id: str, **fields: Any) -> dict[str, Any]:
        report = {"payment_id": payment_id, "status": "approved", **fields}
        status, receipt = self.ask("POST", "/api/decisioning/outcomes", report)
        assert status == 200, receipt
        return dict(receipt)


class Gateway(threading.Thread):
    """A gateway that asks one question after the other until it is told to stop, and keeps what it heard."""

    def __init__(self, url: str, mark: str) -> None:
        super().__init__()
        self.client = Client(url)
        self.mark = mark
        self.answers: list[dict[str, Any]] = []
        self.error: BaseException | None = None
        self.stopping = threading.Event()

    def run(self) -> None:
        try:
            with self.client:
                while not self.stopping.is_set():
                    name = f"{self.mark}_{len(self.answers)}"
                    # A card each: networks limit the attempts of one.
                    self.answers.append(self.client.auth(name, card_token=name))
        except BaseException as error:  # noqa: BLE001  (told to the test)
            self.error = error

    @contextmanager
    def asking(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.stopping.set()
            self.join(timeout=15)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WAIT_SECONDS
    while not true():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def named(policy: str) -> Callable[[Manifest], Manifest]:
    def change(manifest: Manifest) -> Manifest:
        return msgspec.structs.replace(manifest, policy=msgspec.structs.replace(manifest.policy, version=policy))

    return change


def test_bundles_are_swapped_and_refused_under_load_and_no_question_notices(bundle_shelf: Path, tmp_path: Path) -> None:
    shelf = tmp_path / "shelf"
    add_bundle(shelf, bundle_shelf, "first", named("policy-first"))
    add_bundle(shelf, bundle_shelf, "second", named("policy-second"))
    damaged = add_bundle(shelf, bundle_shelf, "damaged", named("policy-damaged")) / "routing.onnx"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: len(whole) // 2])
    activate(shelf, "first")
    settings = {
        "POINTSMAN_BUNDLES": str(shelf),
        "POINTSMAN_BUNDLE_POLL_SECONDS": "0.05",
        "POINTSMAN_JOURNAL": str(tmp_path / "journal"),
        # Two shared cores: this is about which bundle answers, not about how fast.
        "POINTSMAN_BUDGET_MS": "5000",
    }
    with running(settings, log=tmp_path / "log") as (url, _), Client(url) as client:
        gateway = Gateway(url, "load")

        def active() -> str:
            status, manifest = client.get("/api/models")
            assert status == 200
            return str(manifest["version"])

        def bundle_part() -> dict[str, Any]:
            status, readiness = client.get("/health/ready")
            assert (status, readiness["ready"]) == (200, True)
            return dict(readiness["parts"]["bundle"])

        def goes_on() -> None:
            enough = len(gateway.answers) + 50
            until(lambda: len(gateway.answers) >= enough or gateway.error is not None)

        with gateway.asking():
            goes_on()
            assert (active(), bundle_part()["state"]) == ("first", "ready")
            activate(shelf, "damaged")
            until(lambda: bundle_part()["state"] == "degraded")
            assert "routing.onnx was altered: expected sha256" in bundle_part()["reason"]
            goes_on()
            assert active() == "first"
            activate(shelf, "second")
            until(lambda: active() == "second")
            assert bundle_part()["state"] == "ready"
            goes_on()
            activate(shelf, "first")
            until(lambda: active() == "first")
            goes_on()
            # Repaired where it lies, it is taken at the next look.
            activate(shelf, "damaged")
            until(lambda: bundle_part()["state"] == "degraded")
            damaged.write_bytes(whole)
            until(lambda: active() == "damaged")
            assert bundle_part()["state"] == "ready"
            activate(shelf, "first")
            until(lambda: active() == "first")
            goes_on()
        assert gateway.error is None
        versions = [answer["bundle_version"] for answer in gateway.answers]
        turns = [version for place, version in enumerate(versions) if place == 0 or versions[place - 1] != version]
        assert [turn for turn in turns if turn != "damaged"][:3] == ["first", "second", "first"]
        assert set(turns) <= {"first", "second", "damaged"}
        for answer in gateway.answers:
            assert answer["degraded"] == []
            assert answer["policy_version"].startswith(f"policy-{answer['bundle_version']}+")
            assert len(answer["ranking"]) == 5


@pytest.fixture
def settings(bundle_shelf: Path, own_redis: RedisServer, tmp_path: Path) -> dict[str, str]:
    return {
        "POINTSMAN_BUNDLES": str(bundle_shelf),
        "POINTSMAN_STORE": own_redis.url,
        "POINTSMAN_STORE_TIMEOUT_MS": "2000",
        "POINTSMAN_BUDGET_MS": "5000",
        "POINTSMAN_JOURNAL": str(tmp_path / "journal"),
    }


def features(client: Client, decision_id: str) -> dict[str, float]:
    """Return the first row the models saw for a decision, by name, from the audit of it."""
    status, trail = client.get(f"/api/decisions/{decision_id}")
    assert status == 200, trail
    vectors = trail["decision"]["vectors"]
    assert vectors["fingerprint"] == FINGERPRINT
    rows = np.frombuffer(base64.b64decode(vectors["rows"]), dtype="<f4").reshape(-1, WIDTH)
    assert len(rows) == len(vectors["processors"])
    return {name: float(rows[0, place]) for name, place in POSITION.items() if place < WIDTH}


def test_an_outcome_changes_what_the_next_question_sees_and_a_restart_keeps_it(
    settings: dict[str, str], tmp_path: Path
) -> None:
    with running(settings, log=tmp_path / "log") as (url, _), Client(url) as client:
        first = client.auth("pay_1")
        unseen = features(client, first["decision_id"])
        assert unseen["card_attempts_24h"] == unseen["card_approved_per_results_24h"] == -1.0
        assert client.settle("pay_1", decision_id=first["decision_id"]) == {"results": ["applied"], "degraded": []}
        second = client.auth("pay_2")
        seen = features(client, second["decision_id"])
        assert (seen["card_attempts_24h"], seen["card_approved_per_results_24h"]) == (1.0, 1.0)
        assert (seen["merchant_attempts_24h"], seen["issuer_approved_per_results_24h"]) == (1.0, 1.0)
        assert client.settle("pay_2", status="declined")["results"] == ["applied"]
        third = client.auth("pay_3")
        assert features(client, third["decision_id"])["card_approved_per_results_24h"] == 0.5
        # The same question again: the same answer, and nothing counted.
        assert client.auth("pay_3") == third
        _, trail = client.get(f"/api/decisions/{first['decision_id']}")
        assert [outcome["result"] for outcome in trail["outcomes"]] == ["applied"]
    with running(settings, log=tmp_path / "log") as (url, _), Client(url) as client:
        assert client.get(f"/api/decisions/{first['decision_id']}") == (200, trail)
        assert client.settle("pay_1", decision_id=first["decision_id"])["results"] == ["repeated"]
        assert client.settle("pay_3")["results"] == ["applied"]
        fourth = features(client, client.auth("pay_4")["decision_id"])
        assert fourth["card_attempts_24h"] == 3.0
        assert fourth["card_approved_per_results_24h"] == pytest.approx(2 / 3)
        assert client.auth("pay_3") == third


def test_a_question_has_one_answer_of_two_processes_and_another_one_is_refused(
    settings: dict[str, str], tmp_path: Path
) -> None:
    other = {**settings, "POINTSMAN_JOURNAL": str(tmp_path / "other journal")}
    retry = {**PAYMENT, "decline": {"processor": "atlas", "response_code": "51"}}
    with (
        running(settings, log=tmp_path / "log") as (url, _),
        running(other, log=tmp_path / "other log") as (other_url, _),
        Client(url) as one,
        Client(other_url) as two,
    ):
        for kind, body in (("auth", PAYMENT), ("routing", PAYMENT), ("retry", retry)):
            path = f"/api/decisioning/{kind}"
            first = one.raw(path, body)
            assert first[0] == 200
            # Word for word, in whatever order the members come, and with however little time.
            assert two.raw(path, dict(reversed(body.items()))) == first
            assert one.raw(path, body, {"x-pointsman-budget-ms": "0.001"}) == first
            status, problem = two.ask("POST", path, {**body, "amount_minor": 1, "channel": "web"})
            assert (status, problem["code"], problem["path"]) == (409, "already_asked", "$.payment_id")
            assert "they differ in amount_minor, channel" in problem["detail"]
            _, problem = one.ask("POST", path, {**body, "amount_minor": 1, "channel": "web"})
            assert "they differ in amount_minor, channel" in problem["detail"]
        metrics = one.text("/metrics")
        assert 'pointsman_requests_total{route="/api/decisioning/auth",status="409"} 1.0' in metrics


def test_a_timeout_that_was_an_approval_is_revised(settings: dict[str, str], tmp_path: Path) -> None:
    with running(settings, log=tmp_path / "log") as (url, _), Client(url) as client:
        first = client.auth("pay_1")
        assert client.settle("pay_1", status="timeout")["results"] == ["applied"]
        assert client.settle("pay_1", status="approved")["results"] == ["revised"]
        assert client.settle("pay_1", status="timeout")["results"] == ["repeated"]
        seen = features(client, client.auth("pay_2")["decision_id"])
        assert (seen["card_attempts_24h"], seen["card_approved_per_results_24h"]) == (1.0, 1.0)
        assert seen["merchant_approved_per_results_24h"] == 1.0
        _, trail = client.get(f"/api/decisions/{first['decision_id']}")
        assert [outcome["result"] for outcome in trail["outcomes"]] == ["applied", "revised", "repeated"]


def test_what_an_audit_says_of_a_decision_is_enough_to_make_it_again(settings: dict[str, str], tmp_path: Path) -> None:
    with running(settings, log=tmp_path / "log") as (url, _), Client(url) as client:
        for number in range(5):
            client.auth(f"before {number}")
            client.settle(f"before {number}", status="declined", response_code="51", latency_ms=400)
        answer = client.auth("pay_1")
        _, trail = client.get(f"/api/decisions/{answer['decision_id']}")
    record = tmp_path / "record.json"
    record.write_text(json.dumps(trail))
    command = [sys.executable, "-m", "service", "replay", str(record), "--shelf", settings["POINTSMAN_BUNDLES"]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "same\n"), done.stderr
    trail["decision"]["answer"]["risk_score"] = 0.125
    record.write_text(json.dumps(trail))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout.startswith("risk_score: on record 0.125, made again ")


def post_in_halves(url: str, body: bytes, between: Callable[[], None]) -> bytes:
    """Send a question of which the second half comes after `between`; return all that is answered."""
    parts = urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port or 0), timeout=10) as wire:
        head = f"POST /api/decisioning/auth HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        wire.sendall(head.encode() + b"\r\n\r\n" + body[: len(body) // 2])
        between()
        wire.sendall(body[len(body) // 2 :])
        answer = b""
        while part := wire.recv(65_536):
            answer += part
        return answer


def test_told_to_stop_the_service_answers_what_it_has_begun_and_loses_no_answer(
    settings: dict[str, str], tmp_path: Path
) -> None:
    with running({**settings, "POINTSMAN_DRAIN_DELAY_SECONDS": "0"}, log=tmp_path / "log") as (url, pid):
        gateways = [Gateway(url, f"load{number}") for number in range(3)]
        begun = json.dumps({**PAYMENT, "payment_id": "begun"}).encode()

        def stop() -> None:
            until(lambda: all(len(gateway.answers) > 20 for gateway in gateways))
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.3)

        for gateway in gateways:
            gateway.start()
        answer = post_in_halves(url, begun, stop)
        for gateway in gateways:
            gateway.stopping.set()
            gateway.join(timeout=15)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
        last = json.loads(answer.partition(b"\r\n\r\n")[2])
        assert last["degraded"] == []
        # The others were cut off between two questions, never in the midst of an answer.
        for gateway in gateways:
            assert isinstance(gateway.error, http.client.RemoteDisconnected | ConnectionError), gateway.error
        until(lambda: '"message":"stopped"' in (tmp_path / "log").read_text())
        with Client(url) as late, pytest.raises(ConnectionRefusedError):
            late.auth("too late")
    answers = [last, *[answer for gateway in gateways for answer in gateway.answers]]
    with JournalReader(tmp_path / "journal") as journal:
        kept = {entry.event().answer.decision_id for entry in journal.merged()}  # type: ignore[union-attr]
    assert {answer["decision_id"] for answer in answers} <= kept
    # The attempts behind the answers are in the store as well: each is the first of its payment's outcome.
    with running(settings, log=tmp_path / "log") as (url, _), Client(url) as client:
        assert client.settle("begun")["results"] == ["applied"]
        seen = features(client, client.auth("after")["decision_id"])
        assert seen["merchant_attempts_24h"] == len(kept)
