"""HTTP/1.1 on a connection: the four questions straight to their exchanges, everything else to uvicorn and the app.

A POST to exactly one of the four paths, with a ``Content-Length`` and nothing unusual, has no scope, no receive, no send
and no events: its head becomes a dict, its body bytes, and its answer one write. All others (other paths and methods,
chunked bodies, ``Expect``, HTTP/1.0, names that come twice, pipelined requests) take uvicorn's way.

A client sends the same head again and again, so heads are remembered: the bytes of a head that the parser has taken for
a whole request, followed by as many bytes of a body as it says, are that request again, and the parser is not asked.
This module must not know any message.
"""

import asyncio
import socket
import struct
import time
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service.errors import Overloaded, RequestRefused
from service.http.answers import Reply, problem_reply, reply_of
from service.http.call import Call, Head
from service.http.connections import NEVER, Edge
from service.http.heads import END, may_become_a_head, without_upgrade
from service.http.problems import problem_of_router
from service.http.wire import too_large

_LINGER_SECONDS: Final = 2.0
"""A client that is still sending has so long to read why it was refused, before the connection is cut."""
_MOST_IN_VAIN: Final = 65_536
"""So many bytes of the body of a refused request are read, so that its connection can be used again."""
_UNUSUAL: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade"})
_RESET: Final = struct.pack("ii", 1, 0)
_CLOSE: Final = b"connection: close\r\n"


class Protocol(HttpToolsProtocol):
    """One connection.

    Parameters
    ----------
    edge
        What all connections of the server share.
    config, server_state, app_state, _loop
        As uvicorn gives them.
    """

    def __init__(
        self,
        edge: Edge,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.due = NEVER
        self._edge = edge
        self._limits = edge.limits
        self._known_heads = edge.heads.known
        # No request has begun, as far as the parser knows.
        self._between = True
        # The beginning of a head whose end is still to come: the parser gets whole heads only.
        self._begun = b""
        # Head and body of what is being parsed, when one piece of data holds all of both.
        self._whole: tuple[bytes, bytes] | None = None
        self._call: Call | None = None
        self._running: RequestResponseCycle | None = None
        # The last answer is given, or nothing more is read before it is.
        self._done = False

    @property
    def _busy(self) -> bool:
        """Whether a request is under way: what comes now waits for its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection; too many are refused, once nobody can be let go."""
        super().connection_made(transport)
        self._wait(self._limits.head_seconds)
        connections: Any = self.connections
        if len(connections) > self._limits.connections and not self._edge.make_room(connections, self):
            self._close_with(reply_of(Overloaded("connections are open")), linger=False)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        # This is `_between` and not `_busy`, written out: it is all that stands between most requests and their exchange.
        if self._between and (self.cycle is None or self.cycle.response_complete):
            end = data.find(END)
            if end > 0:
                head = self._known_heads.get(data[:end])
                if head is not None and len(data) == end + 4 + head.length and not self._begun:
                    self._known(head, data[end + 4 :])
                    return
        if not self._done:
            self._feed(data)

    def on_message_begin(self) -> None:
        """Take the beginning of a request."""
        self._between = False
        self.url = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Choose the way of a request."""
        if self._done:
            return
        if not self._busy:
            self._wait(self._limits.body_seconds)
        exchange = self._edge.lane.get(self.url)
        if exchange is not None and self.parser.get_method() == b"POST" and not self._busy:
            headers = dict(self.headers)
            length = headers.get(b"content-length", b"")
            if (
                len(headers) == len(self.headers)
                and _UNUSUAL.isdisjoint(headers)
                and 0 < len(length) < 16
                and self.parser.get_http_version() == "1.1"
            ):
                self._take(Head(exchange, headers, int(length)))
                return
        self._pass_on()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        call = self._call
        if self._done:
            return
        if call is None:
            super().on_body(body)
        elif call.refused is None:
            call.body += body

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        if self._done:
            return
        self._between = True
        call = self._call
        if call is None:
            super().on_message_complete()
            self._go_on()
            return
        self._call = None
        if call.keep_alive and call.refused is None and self._whole is not None and self._whole[1] == call.body:
            self._edge.heads.remember(self._whole[0], call.head)
        self._go(call)

    def on_response_complete(self) -> None:
        """Go on after an answer: with a request that waited for it, or waiting for the next one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._wait(_LINGER_SECONDS)
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        # With each request of one piece of data that is answered another piece would come in otherwise.
        if not self.pipeline and not self.flow.write_paused:
            self.flow.resume_reading()
        self._go_on()

    def pause_writing(self) -> None:
        """Take no more of a client that does not take its answers."""
        super().pause_writing()
        self.flow.pause_reading()
        self._wait(self._limits.write_seconds)

    def resume_writing(self) -> None:
        """Go on with a client that has taken its answers."""
        super().resume_writing()
        self.flow.resume_reading()
        self._go_on()

    def shutdown(self) -> None:
        """Close as soon as nothing is under way, an answer begun and a request half received included."""
        if self._busy:
            self.cycle.keep_alive = False
        elif self._done or (self._between and not self._begun):
            self.transport.close()

    @property
    def closing(self) -> bool:
        """Whether it is on its way out."""
        return self.transport.is_closing()

    def cut(self) -> None:
        """Let go of the client at once, and of what it did not take: the kernel would keep megabytes of it for minutes."""
        self._forget_pipeline()
        own: Any = self.transport.get_extra_info("socket")
        if own is not None and not self.transport.is_closing():
            own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nobody answer into a connection that is gone."""
        self._forget_pipeline()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _forget_pipeline(self) -> None:
        """Tell requests that wait or run before the latest one that the client has gone; uvicorn tells the latest alone."""
        for cycle in (self._running, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()

    def expire(self) -> None:
        """Let go of a client that did not go on in its time; one that has begun a request is told so."""
        if self._done or self.transport.is_closing():
            self.cut()
        elif self.flow.write_paused:
            self._edge.count("write")
            self.cut()
        elif self._between and not self._begun:
            self._edge.count("idle")
            self._wait(_LINGER_SECONDS)
            self.transport.close()
        else:
            late = RequestRefused(code="request_timeout", path="$", detail="expected the whole request by now")
            call = self._call
            self._edge.count("head" if self._between else "body")
            self._give_up(reply_of(late) if call is None else call.head.exchange.refused(late, call.started))

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP; whoever sends it is counted, and not in the log."""
        self._edge.count("not_http")
        self._give_up(problem_reply(problem_of_router(400)))

    def _give_up(self, reply: Reply) -> None:
        """Refuse what is being received, after the answers to what was received before it."""
        cycle = self.cycle
        if self._busy and self._call is None and (self.pipeline or not cycle.more_body):
            cycle.keep_alive = False
            self._done = True
            return
        if self._busy:
            cycle.response_complete = cycle.disconnected = True
            cycle.message_event.set()
        if cycle is not None and cycle.response_started and cycle.disconnected:
            self.cut()
        else:
            self._close_with(reply)

    def _go_on(self) -> None:
        """Wait for what comes next: an answer of ours, or the client; one that does not take its answers is timed already."""
        if self.flow.write_paused:
            return
        if self._busy and (self._between or self.pipeline or not self.cycle.more_body):
            self.due = NEVER
        elif self._between:
            self._wait(self._limits.idle_seconds)
        else:
            self._wait(self._limits.body_seconds)

    def _wait(self, seconds: float) -> None:
        self.due = time.monotonic() + seconds

    def _feed(self, data: bytes) -> None:
        """Give bytes to the parser, a head only when all of it is there."""
        self._whole = None
        if self._between:
            if not self._begun and not self._busy:
                self._wait(self._limits.head_seconds)
            data = self._begun + data
            end = data.find(END)
            if end > self._limits.head_bytes or (end < 0 and len(data) > self._limits.head_bytes):
                self._begun = b""
                detail = f"expected at most {self._limits.head_bytes} bytes before the body"
                self._give_up(reply_of(RequestRefused(code="head_too_large", path="$", detail=detail)))
                return
            if end < 0 and may_become_a_head(data):
                self._begun = data
                return
            self._begun = b""
            head, body = data[: max(end, 0)], data[end + 4 :]
            if b"pgrade" in head:
                data = without_upgrade(head) + END + body
            elif end > 0:
                self._whole = (head, body)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.send_400_response("")
        except httptools.HttpParserUpgrade:
            # Offered behind another request: what was dropped with it cannot be had again.
            self.send_400_response("")

    def _known(self, head: Head, body: bytes) -> None:
        """Take a whole request whose head was seen before."""
        call = Call(head, time.monotonic(), keep_alive=True)
        self.cycle = call  # type: ignore[assignment]
        call.refused = self._refused(head, call.started)
        call.body = body
        self._go(call)

    def _take(self, head: Head) -> None:
        """Take the head of a request."""
        call = Call(head, time.monotonic(), keep_alive=self.parser.should_keep_alive())
        self.cycle = call  # type: ignore[assignment]
        call.refused = self._refused(head, call.started)
        if call.refused is not None and head.length > _MOST_IN_VAIN:
            call.response_complete = True
            self._close_with(call.refused)
        else:
            self._call = call

    def _refused(self, head: Head, started: float) -> Reply | None:
        """Return the answer of a request that is refused for its head."""
        exchange = head.exchange
        try:
            limit = exchange.admit("POST", head.headers)
        except Exception as error:  # noqa: BLE001
            return exchange.refused(error, started)
        if head.length > limit:
            return exchange.refused(too_large(limit), started)
        if len(self.tasks) >= self._limits.in_flight:
            return exchange.refused(Overloaded("requests are under way"), started)
        return None

    def _pass_on(self) -> None:
        """Leave a request to uvicorn and the app."""
        url, fields = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in fields:
            super().on_header(name, value)
        super().on_headers_complete()
        if self._edge.draining and self.cycle is not None:
            self.cycle.keep_alive = False

    def _go(self, call: Call) -> None:
        """Answer a request that is there as a whole."""
        if not self.flow.write_paused:
            self.due = NEVER
        if call.refused is not None:
            self._write(call, call.refused)
            return
        call.task = self.loop.create_task(self._answer(call))
        self.tasks.add(call.task)

    async def _answer(self, call: Call) -> None:
        head = call.head
        try:
            self._write(call, await head.exchange.answer(head.headers, call.body, call.started))
        except BaseException:
            self.transport.abort()
            raise
        finally:
            self.tasks.discard(call.task)

    def _write(self, call: Call, reply: Reply) -> None:
        call.response_complete = True
        if call.disconnected:
            return
        if reply.status == 413:
            self._close_with(reply)
            return
        close = b"" if call.keep_alive and not self._edge.draining else _CLOSE
        self.transport.write(self._bytes(reply, close))
        if close:
            self._wait(_LINGER_SECONDS)
            self.transport.close()
        self.on_response_complete()

    def _bytes(self, reply: Reply, close: bytes) -> bytes:
        status, head, body = reply
        default = self._edge.default_headers(self.server_state)
        length = b"content-length: %d\r\n\r\n" % len(body)
        return b"".join((STATUS_LINE[status], default, head.raw, close, length, body))

    def _close_with(self, reply: Reply, *, linger: bool = True) -> None:
        """Answer, then close; what the client is still sending is read for a moment, lest it lose the answer over it."""
        if self._done or self.transport.is_closing():
            return
        self._done = True
        self._between = False
        self._call = None
        self._wait(_LINGER_SECONDS)
        self.transport.write(self._bytes(reply, b"" if b"connection:" in reply.head.raw else _CLOSE))
        if linger and self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()
