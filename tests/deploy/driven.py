"""A real service that has met what alerts are about: no bundle, payments, refusals, outcomes, a frozen store, spoilt state."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from benchmarks.processes import WebServer
from service.access import keyfile
from tests.servers import RedisServer, free_port

ROUNDS = 6
WORKERS = 2


class Driven:
    def __init__(self, folder: Path, redis: RedisServer) -> None:
        self.redis = redis
        self.shelf = folder / "shelf"
        self.port = free_port()
        environment = {
            "POINTSMAN_HOST": "127.0.0.1",
            "POINTSMAN_PORT": str(self.port),
            "POINTSMAN_BUNDLES": str(self.shelf),
            "POINTSMAN_BUNDLE_POLL_SECONDS": "0.1",
            "POINTSMAN_JOURNAL": str(folder / "journal"),
            "POINTSMAN_STORE": redis.url,
            "POINTSMAN_WORKERS": str(WORKERS),
            "POINTSMAN_STAGE_SAMPLE": "1",
            "POINTSMAN_HEAD_SECONDS": "2",
            # As in compose and in the manifests: questions need a key, a scrape does not.
            "POINTSMAN_KEYS": str(folder / "keys.json"),
            "POINTSMAN_METRICS_OPEN": "yes",
        }
        self.key = keyfile.add(folder / "keys.json", name="gateway", scopes=["decide", "report"]).text
        self.server = WebServer("service", self.port, "/health/live", environment, log=folder / "service.log")
        self.asked = 0

    def ask(self, name: str, body: Any, key: str | None = None) -> int:
        """Ask and return the status, with the gateway's key unless another is given."""
        headers = {"content-type": "application/json", "x-api-key": self.key if key is None else key}
        request = Request(f"{self.server.url}/api/decisioning/{name}", json.dumps(body).encode(), headers)
        try:
            with urlopen(request, timeout=5) as answer:
                answer.read()
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    def scrape(self) -> str:
        with urlopen(f"{self.server.url}/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def payment(self, **more: Any) -> dict[str, Any]:
        self.asked += 1
        return {
            "payment_id": f"pay_{self.asked}",
            "merchant_id": "m-0001",
            "amount_minor": 4_990,
            "currency": "EUR",
            "card_token": f"tok_{self.asked % 7}",
            "card_network": "visa",
            "issuer_country": "DE",
            **more,
        }

    def without_bundle(self) -> None:
        # Again and again: of a series that begins at 1 Prometheus sees no increase.
        for _ in range(2 * ROUNDS):
            assert self.ask("auth", self.payment()) == 503
            time.sleep(0.1)

    def with_bundle(self, shelf: Path) -> None:
        self.shelf.symlink_to(shelf, target_is_directory=True)
        wait(lambda: self.scrape().count("pointsman_bundle_info{") == WORKERS)

    def traffic(self) -> None:
        """All questions and outcomes, some refused; between two rounds Prometheus looks. One client never ends its head."""
        with socket.create_connection(("127.0.0.1", self.port)) as slow:
            slow.sendall(b"POST / HTTP/1.1\r\n")
            self._rounds()
            slow.settimeout(30)
            while slow.recv(4096):
                pass

    def _rounds(self) -> None:
        for _ in range(ROUNDS):
            for status in ("approved", "declined", "timeout"):
                payment = self.payment(fraud_score=0.99 if status == "declined" else 0.01)
                assert self.ask("auth", payment) == 200
                assert self.ask("routing", self.payment()) == 200
                code = {"response_code": "51"} if status == "declined" else {}
                said = {"payment_id": payment["payment_id"], "attempt": 1, "processor": "atlas"}
                assert self.ask("outcomes", {**said, "status": status, **code}) == 200
            declined = {"processor": "atlas", "response_code": "51"}
            assert self.ask("retry", self.payment(decline=declined)) == 200
            assert self.ask("outcomes", {**said, "kind": "refund"}) == 200
            assert self.ask("auth", self.payment(amount_minor="4990")) == 422
            assert self.ask("auth", self.payment(), key="nobody's") == 401
            assert self.ask("auth", self.payment(occurred_at="2020-01-01T00:00:00Z")) == 200
            time.sleep(0.3)

    def frozen_store(self) -> None:
        self.redis.pause()
        try:
            for _ in range(ROUNDS):
                payment = self.payment()
                assert self.ask("auth", payment) == 200
                said = {"payment_id": payment["payment_id"], "attempt": 1, "processor": "atlas", "status": "approved"}
                assert self.ask("outcomes", said) == 200
                time.sleep(0.1)
        finally:
            self.redis.resume()

    def spoilt_state(self) -> None:
        with self.redis.client() as client:

            def is_noticed() -> bool:
                # Again each time: whatever is written to a spoilt state begins it anew, also by a worker that could not read it.
                for key in client.scan_iter("pm:s:card:*"):
                    client.set(key, b"spoilt")
                return self.ask("auth", self.payment()) == 200 and "pointsman_state_unreadable_total{" in self.scrape()

            wait(is_noticed, 60.0)

    def stop(self) -> None:
        self.server.stop()


def wait(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to be in time"
        time.sleep(0.05)
