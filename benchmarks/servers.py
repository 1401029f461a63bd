"""``python -m benchmarks.servers``: what HTTP itself costs, by server, with the same JSON work behind each.

In turns, each kept to the first core: the service's own protocol, uvicorn with uvloop and with asyncio's loop, and granian and
hypercorn where they are installed. Microseconds of processor time are the measure; requests a second also say who else used
the core.
"""

import argparse
import asyncio
import functools
import importlib
import importlib.util
import os
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop

from benchmarks import processes
from benchmarks.client import Seen, Target, closed_loop
from benchmarks.questions import requests
from contracts.decision import Decision
from contracts.payment import AuthRequest
from service.http.answers import Reply, head
from service.http.decisions import PREFIX
from service.http.examples import EXAMPLES

TURNS: Final = 4
_DECODE: Final = msgspec.json.Decoder(AuthRequest).decode
_ENCODE: Final = msgspec.json.Encoder().encode
_ANSWER: Final = msgspec.convert(EXAMPLES["Decision"], Decision)
_HEAD: Final = head(b"application/json")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Question:
    """As much of an exchange as a connection asks of one: the JSON work alone."""

    path = f"{PREFIX}/auth"

    def admit(self, _method: str, _headers: Any) -> int:
        """Let everything in."""
        return 65_536

    async def answer(self, _headers: Any, body: bytes, _started: float) -> Reply:
        """Do the work."""
        _DECODE(body)
        return Reply(200, _HEAD, _ENCODE(_ANSWER))

    def refused(self, error: Exception, _started: float) -> Reply:
        """Refuse nothing: an error here is one of this benchmark."""
        raise error


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Do the same work over ASGI."""
    message = await receive()
    if scope["type"] == "lifespan":
        while message["type"] != "lifespan.shutdown":
            await send({"type": message["type"] + ".complete"})
            message = await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    _DECODE(body)
    content = _ENCODE(_ANSWER)
    headers = [*_HEAD.fields, (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def serve(name: str, port: int) -> None:
    """Serve with one of the servers until told to stop."""
    if name == "granian":
        granian: Any = importlib.import_module("granian")
        granian.Granian(
            "benchmarks.servers:app", address="127.0.0.1", port=port, interface="asgi", workers=1, log_enabled=False
        ).serve()
    elif name == "hypercorn":
        config: Any = importlib.import_module("hypercorn.config").Config()
        config.bind, config.accesslog, config.errorlog = [f"127.0.0.1:{port}"], None, None
        uvloop.run(importlib.import_module("hypercorn.asyncio").serve(app, config))
    else:
        import uvicorn

        from service.http.connections import Edge, Limits
        from service.http.protocol import Protocol

        ours: Any = functools.partial(Protocol, Edge([Question()], Limits()))  # type: ignore[list-item]
        uvicorn.run(
            app,
            port=port,
            loop="asyncio" if name == "uvicorn on asyncio" else "uvloop",
            http=ours if name == "own" else "httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )


def used(pid: int) -> float:
    """Return the seconds of processor time that a process and its children have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / _TICKS + sum(used(int(child)) for child in children)


def names() -> list[str]:
    """Return the servers that can be started here."""
    others = [name for name in ("granian", "hypercorn") if importlib.util.find_spec(name) is not None]
    return ["own", "uvicorn", "uvicorn on asyncio", *others]


async def _measure(
    servers: dict[str, tuple[processes.Process, Target]], seconds: float, connections: int
) -> dict[str, list[tuple[float, float]]]:
    source = requests("auth", "s")
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in servers}
    for turn in range(TURNS + 1):
        for name, (process, target) in servers.items():
            part, before = Seen(), used(process.pid)
            await closed_loop(target, source, connections, seconds / TURNS if turn else 1.0, part)
            if part.errors:
                msg = f"{name}: {part.errors}"
                raise RuntimeError(msg)
            if turn:
                cost = (used(process.pid) - before) / part.answered * 1e6
                seen[name].append((cost, part.answered / part.seconds))
    return seen


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description="What HTTP costs, by server.")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each server (default 8)")
    parser.add_argument("--connections", type=int, default=64, help="default 64")
    parser.add_argument("--serve", nargs=2, metavar=("NAME", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.serve is not None:
        serve(options.serve[0], int(options.serve[1]))
        return 0
    server_cores, client_cores = processes.cores()
    with ExitStack() as stack:
        servers = {}
        for name in names():
            port = processes.free_port()
            command = [sys.executable, "-m", "benchmarks.servers", "--serve", name, str(port)]
            process = stack.enter_context(processes.Process(command, None, server_cores))
            servers[name] = (process, Target("127.0.0.1", port))
        processes.keep_to(0, client_cores)
        for process, target in servers.values():
            asyncio.run(_listening(process, target))
        seen = uvloop.run(_measure(servers, options.seconds, options.connections))
    print(f"{'server':20} {'us a request':>14} {'requests/s':>12}")
    for name, turns in seen.items():
        cost, rate = (statistics.median(figures) for figures in zip(*turns, strict=True))
        print(f"{name:20} {cost:14.1f} {rate:12,.0f}")
    return 0


async def _listening(process: processes.Process, target: Target) -> None:
    async with asyncio.timeout(processes.START_SECONDS):
        while True:
            process.check()
            try:
                _, writer = await asyncio.open_connection(target.host, target.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


if __name__ == "__main__":
    sys.exit(main())
