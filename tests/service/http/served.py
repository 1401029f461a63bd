"""The edge's app behind our own server, on a port of loopback and a thread of its own, and a client that sends raw bytes."""

import gc
import socket
import threading
from types import TracebackType
from typing import Any, NamedTuple, Self

import uvicorn

from service.listen import bind
from service.serve import Place, Server
from service.settings import Settings

PATIENCE = 20.0
"""Seconds that a client here waits for what must come."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        for part in parts:
            self.socket.sendall(part)

    def answer(self, *, head: bool = False) -> Answer | None:
        """Return the next answer, None when the server has closed the connection instead."""
        try:
            line = self._file.readline()
        except ConnectionResetError:
            return None
        if not line:
            return None
        version, status, _ = line.split(b" ", 2)
        assert version == b"HTTP/1.1"
        headers: dict[str, str] = {}
        while (line := self._file.readline()) != b"\r\n":
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            assert name not in headers, name
            headers[name] = value
        length = 0 if head or int(status) < 200 else int(headers["content-length"])
        body = self._file.read(length)
        assert len(body) == length
        return Answer(int(status), headers, body)

    def ask(self, *parts: bytes) -> Answer:
        self.send(*parts)
        answer = self.answer()
        assert answer is not None
        return answer

    @property
    def closed(self) -> bool:
        """Whether the server closes the connection without another word; waits for it."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


class Served(threading.Thread):
    """A server on a thread of its own.

    Parameters
    ----------
    edge
        The app with fakes behind it.
    settings
        What the app was made with.
    theirs
        Whether uvicorn's own protocol is to serve in the place of ours.
    """

    def __init__(self, edge: Any, settings: Settings, *, theirs: bool = False) -> None:
        super().__init__(daemon=True)
        self.edge = edge
        self.listener = bind("127.0.0.1", 0)
        self.port: int = self.listener.getsockname()[1]
        self.server = Server(edge.app, settings, Place())
        if theirs:
            self.server.config.http = "httptools"
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self.server.run(sockets=[self.listener])
        except BaseException as error:  # noqa: BLE001  (uvicorn exits)
            self._error = error

    def __enter__(self) -> Self:
        self.start()
        until = threading.Event()
        while not self.server.started and self.is_alive():
            until.wait(0.005)
        assert self._error is None, self._error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()
        gc.unfreeze()

    def stop(self) -> None:
        self.server.should_exit = True
        self.join(PATIENCE)
        assert not self.is_alive()
        assert self._error is None, self._error

    @property
    def state(self) -> uvicorn.server.ServerState:
        return self.server.server_state

    def client(self) -> Client:
        return Client(self.port)


def post(path: str, body: bytes, *headers: str, version: str = "1.1", length: int | None = None) -> bytes:
    """Return the bytes of a request."""
    lines = [f"POST {path} HTTP/{version}", "host: edge", "content-type: application/json", *headers]
    lines.append(f"content-length: {len(body) if length is None else length}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunked(path: str, *chunks: bytes) -> bytes:
    """Return the bytes of a request whose body comes in chunks."""
    head = f"POST {path} HTTP/1.1\r\nhost: edge\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
