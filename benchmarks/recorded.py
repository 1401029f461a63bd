"""``python -m benchmarks.recorded FILE``: the ONNX runs that decisions make, recorded so that a floor can make the same ones.

The app is built as the service builds it, over warm state and without a journal, and asked over ASGI. What goes into ONNX
Runtime meanwhile is written down: which graph, which outputs, which rows. So the floor follows whatever the service comes to
ask; it is asked without its own kernels for models (docs/adr/0027-models-in-c.md), which are faster than that.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from service.http.decisions import PREFIX

QUESTIONS: Final = 64
"""How many questions of each kind are recorded; their payments differ as those of the load do."""
KINDS: Final = ("auth", "retry")
LIMIT_SECONDS: Final = 180.0
BUDGET_MS: Final = 10_000


class Rows(msgspec.Struct, frozen=True):
    """One input of a run."""

    shape: tuple[int, ...]
    kind: str
    data: bytes

    def array(self) -> npt.NDArray[Any]:
        """Return it as an array of its own, as the service hands it in."""
        return np.frombuffer(self.data, dtype=self.kind).reshape(self.shape).copy()


class Run(msgspec.Struct, frozen=True):
    """One run: the graph's place in `Record.graphs`, what is asked of it, and what goes in."""

    graph: int
    outputs: tuple[str, ...] | None
    inputs: dict[str, Rows]


class Exchange(msgspec.Struct, frozen=True):
    """One question: the runs made for it, and the body of its answer."""

    runs: tuple[Run, ...]
    answer: bytes


class Record(msgspec.Struct, frozen=True):
    """Graphs as they were opened, and the questions of each kind."""

    graphs: tuple[bytes, ...]
    exchanges: dict[str, tuple[Exchange, ...]]

    def runs_per_question(self, kind: str) -> float:
        """Return how many runs a question of a kind makes on average."""
        return sum(len(each.runs) for each in self.exchanges[kind]) / len(self.exchanges[kind])


def record(shelf: Path, out: Path) -> Record:
    """Record the runs of a shelf's active bundle, in a process of its own, into a file; return what is in it.

    Raises
    ------
    RuntimeError
        When the process failed.
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("POINTSMAN_")}
    variables = {**inherited, "POINTSMAN_BUNDLES": str(shelf.absolute()), "POINTSMAN_JOURNAL": "off"}
    variables["POINTSMAN_BUDGET_MS"] = str(BUDGET_MS)
    command = [sys.executable, "-m", "benchmarks.recorded", str(out.absolute())]
    done = subprocess.run(  # noqa: S603  (the command above)
        command, env=variables, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
    )
    if done.returncode:
        msg = f"recording the ONNX runs of decisions failed: {done.stderr[-2000:]}"
        raise RuntimeError(msg)
    return opened(out)


def opened(path: Path) -> Record:
    """Return what was recorded into a file."""
    return msgspec.msgpack.decode(path.read_bytes(), type=Record)


class _Spy:
    """Stands in for ONNX Runtime's sessions, and writes down what they are asked."""

    def __init__(self) -> None:
        self.graphs: list[bytes] = []
        self.runs: list[Run] = []

    def install(self) -> None:
        """Put the recording session in the real one's place; nothing may have imported that by name yet."""
        import onnxruntime

        from service.models import kernel

        # Recorded is what the service asks where it has no kernels of its own.
        kernel.THERE = False
        spy, real = self, onnxruntime.InferenceSession

        class Recording(real):  # type: ignore[misc, valid-type]
            def __init__(self, graph: Any, *arguments: Any, **options: Any) -> None:
                super().__init__(graph, *arguments, **options)
                self._place = len(spy.graphs)
                spy.graphs.append(graph if isinstance(graph, bytes) else Path(graph).read_bytes())

            def run(self, outputs: Any, feed: dict[str, Any], options: Any = None) -> Any:
                rows = {
                    name: Rows(each.shape, each.dtype.str, np.ascontiguousarray(each).tobytes())
                    for name, each in feed.items()
                }
                spy.runs.append(Run(self._place, None if outputs is None else tuple(outputs), rows))
                return super().run(outputs, feed, options)

        onnxruntime.InferenceSession = Recording


async def _ask(app: Any, path: str, body: bytes) -> bytes:
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    answer = b"".join(each.get("body", b"") for each in sent)
    if sent[0]["status"] != 200 or b'"degraded":[]' not in answer:
        msg = f"expected an answer that is not degraded, got {sent[0]['status']}: {answer.decode()[:500]}"
        raise RuntimeError(msg)
    return answer


async def _record(app: Any, spy: _Spy) -> Record:
    from benchmarks.questions import bodies

    moves: asyncio.Queue[str] = asyncio.Queue()
    told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive() -> dict[str, Any]:
        return {"type": await moves.get()}

    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, told.put))
    moves.put_nowait("lifespan.startup")
    if (started := await told.get())["type"] != "lifespan.startup.complete":
        msg = f"the app did not start: {started.get('message')}"
        raise RuntimeError(msg)
    exchanges: dict[str, tuple[Exchange, ...]] = {}
    for kind in KINDS:
        seen = []
        for body in islice(bodies(kind, "r"), QUESTIONS):
            spy.runs = []
            answer = await _ask(app, f"{PREFIX}/{kind}", body)
            seen.append(Exchange(tuple(spy.runs), answer))
        exchanges[kind] = tuple(seen)
    moves.put_nowait("lifespan.shutdown")
    await life
    return Record(tuple(spy.graphs), exchanges)


def main(argv: Sequence[str] | None = None) -> int:
    """Record; return the exit code."""
    (out,) = sys.argv[1:] if argv is None else argv
    spy = _Spy()
    spy.install()
    # Not above: what they import must find the recording session.
    from benchmarks.material import warm_states
    from service import settings
    from service.app import build
    from service.store.memory import MemoryStore

    path = Path(f"{out}.state")
    store = MemoryStore(path)
    store.put_many(warm_states())
    store.save()
    try:
        app = build(settings.load({**os.environ, "POINTSMAN_STORE": f"memory://{path.absolute()}"}))
        made = asyncio.run(_record(app, spy))
    finally:
        path.unlink(missing_ok=True)
    if not all(each.runs for each in made.exchanges["auth"]):
        print("expected every decision to run a model, got one without an ONNX run", file=sys.stderr)
        return 1
    Path(out).write_bytes(msgspec.msgpack.encode(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
