"""A service that fails in every way a network knows: each request it gets is answered by the next act of a script."""

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from contracts.decision import Decision, RetryDecision
from contracts.outcome import OutcomeReceipt
from contracts.problem import Problem

HELD_SECONDS = 60.0
"""A connection that is held open ends after this long, should its client wait for ever."""


class Asked(NamedTuple):
    """One request as it came in."""

    line: str
    headers: dict[str, str]
    body: bytes


Act = Callable[[socket.socket, threading.Event], None]


class Fake:
    """Listens on a port of its own; `asked` has what came in, in order. The last act of the script is played for ever."""

    def __init__(self, *script: Act, certificate: Path | None = None) -> None:
        self.script = list(script)
        self._tls: ssl.SSLContext | None = None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(certificate, certificate.with_name("key"))
        self.asked: list[Asked] = []
        self.connections = 0
        self._ended = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._ended.set()
        # A listener that is only closed may keep its thread in accept.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(wire,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, wire: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._tls is not None:
                wire.settimeout(10)
                # On failure it closes what it was given.
                wire = self._tls.wrap_socket(wire, server_side=True)
            with wire:
                wire.settimeout(0.2)
                while (asked := self._request(wire)) is not None:
                    self.asked.append(asked)
                    act = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                    act(wire, self._ended)

    def _request(self, wire: socket.socket) -> Asked | None:
        """Return the next request of a connection, None when there is none any more."""
        received = b""
        needed = -1
        while needed < 0 or len(received) < needed:
            try:
                part = wire.recv(65_536)
            except TimeoutError:
                if self._ended.is_set():
                    return None
                continue
            if not part:
                return None
            received += part
            head, end, _ = received.partition(b"\r\n\r\n")
            if end and needed < 0:
                needed = len(head) + 4 + int(_headers(head).get("content-length", "0"))
        return Asked(head.split(b"\r\n")[0].decode(), _headers(head), received[len(head) + 4 :])


def _headers(head: bytes) -> dict[str, str]:
    lines = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    return {name.strip().decode().lower(): value.strip().decode() for name, _, value in lines}


def reply(status: int, body: bytes = b"", media: str = "application/json", **headers: str) -> Act:
    """Answer whole, and keep the connection."""
    named = {
        "content-type": media,
        "content-length": str(len(body)),
        **{k.replace("_", "-"): v for k, v in headers.items()},
    }
    head = f"HTTP/1.1 {status} x\r\n" + "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return lambda wire, _: wire.sendall(head.encode() + b"\r\n" + body)


def problem(status: int, code: str, **headers: str) -> Act:
    """Answer with a problem of the contract."""
    told = Problem(
        type=f"urn:pointsman:problem:{code}", title="No", status=status, code=code, detail="it was told why", path="$.x"
    )
    return reply(status, msgspec.json.encode(told), "application/problem+json", **headers)


def reset(wire: socket.socket, _: threading.Event) -> None:
    """Break the connection with a reset instead of an answer."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()


def hang_up(wire: socket.socket, _: threading.Event) -> None:
    """Close the connection without a word."""
    wire.shutdown(socket.SHUT_RDWR)
    wire.close()


def silence(_: socket.socket, ended: threading.Event) -> None:
    """Say nothing."""
    ended.wait(HELD_SECONDS)


def raw(content: bytes) -> Act:
    """Send bytes, whatever they are, and close."""

    def act(wire: socket.socket, _: threading.Event) -> None:
        wire.sendall(content)
        wire.shutdown(socket.SHUT_WR)

    return act


def drip(first: bytes, parts: Iterable[bytes] = ()) -> Act:
    """Send `first`, then a byte every few milliseconds, for ever: no single read is ever late."""

    def act(wire: socket.socket, ended: threading.Event) -> None:
        wire.sendall(first)
        for part in parts:
            wire.sendall(part)
        while not ended.wait(0.02):
            wire.sendall(b"x")

    return act


def endless(wire: socket.socket, ended: threading.Event) -> None:
    """Send a body without end, as fast as it is read."""
    wire.settimeout(5)
    wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000000000\r\n\r\n")
    while not ended.is_set():
        wire.sendall(b" " * 1_000_000)


DECISION = Decision(
    decision_id="d_1",
    payment_id="pay_1",
    attempt=1,
    action="approve",
    approval_probability=0.9,
    risk_score=0.1,
    risk_tier="LOW",
    processor="adler",
    ranking=(),
    three_ds="none",
    exemption=None,
    reasons=(),
    degraded=(),
    bundle_version="b1",
    policy_version="p1",
    latency_us=100,
)
RETRY = RetryDecision(
    decision_id="d_2",
    payment_id="pay_1",
    attempt=1,
    should_retry=False,
    verdict="stop",
    retry_at=None,
    wait_seconds=None,
    processor=None,
    success_probability=0.0,
    expected_value_minor=0.0,
    rules=(),
    quota=None,
    reasons=(),
    degraded=(),
    bundle_version="b1",
    policy_version="p1",
    latency_us=1,
)
DECIDED = reply(200, msgspec.json.encode(DECISION))


def received(count: int, *degraded: str) -> Act:
    return reply(200, msgspec.json.encode(OutcomeReceipt(results=("applied",) * count, degraded=degraded)))
