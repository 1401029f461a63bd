"""``python -m benchmarks.floor``: the least a Python process can do with these messages over HTTP.

A bare ASGI app on uvicorn with uvloop and httptools: it decodes the same typed request and encodes the same typed answer. With
``FLOOR_MODELS=yes``, which is the default, it also makes the ONNX runs of a decision in between, on the graphs and rows that
`benchmarks.recorded` wrote down: as many, in the same order, of the same shapes. No guard, no checks, no state, no policy, no
journal, no metrics.
"""

import gc
import os
import socket
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import onnxruntime
import uvicorn

from benchmarks.recorded import Exchange, Record, opened
from contracts.decision import Decision, RetryDecision
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest
from service.http.decisions import PREFIX

_ENCODE: Final = msgspec.json.Encoder().encode
_HEADERS: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
_TYPES: Final = {"auth": (AuthRequest, Decision), "retry": (RetryRequest, RetryDecision)}

Answer = Callable[[], Any]


def answers(record: Record, kind: str, *, models: bool) -> Answer:
    """Return a function that makes the runs of one recorded question after the other, and returns its answer."""
    sessions = [_session(graph) for graph in record.graphs] if models else []
    _, form = _TYPES[kind]
    steps = cycle([_step(each, sessions, form, models=models) for each in record.exchanges[kind]])
    return lambda: next(steps)()


def _step(exchange: Exchange, sessions: list[Any], form: Any, *, models: bool) -> Answer:
    answer = msgspec.json.decode(exchange.answer, type=form)
    if not models:
        return lambda: answer
    runs = [
        (
            sessions[each.graph].run,
            None if each.outputs is None else list(each.outputs),
            {name: rows.array() for name, rows in each.inputs.items()},
        )
        for each in exchange.runs
    ]

    def run() -> Any:
        for ask, outputs, inputs in runs:
            ask(outputs, inputs)
        return answer

    return run


def _session(graph: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class App:
    """The bare app.

    Parameters
    ----------
    record
        What was recorded of decisions.
    models
        Whether to make the runs.
    """

    def __init__(self, record: Record, *, models: bool) -> None:
        self._known: dict[str, tuple[Callable[[bytes], Any], Answer]] = {
            f"{PREFIX}/{kind}": (msgspec.json.Decoder(asked).decode, answers(record, kind, models=models))
            for kind, (asked, _) in _TYPES.items()
        }
        receipt = OutcomeReceipt(results=("applied",))
        self._known[f"{PREFIX}/outcomes"] = (msgspec.json.Decoder(Outcome).decode, lambda: receipt)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        known = self._known.get(scope["path"])
        if known is None:
            body = b"{}"
        else:
            decode, answer = known
            message = await receive()
            question = message["body"]
            while message["more_body"]:
                message = await receive()
                question += message["body"]
            decode(question)
            body = _ENCODE(answer())
        headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _recorded() -> Record:
    # Not above: a floor that is measured has no use for what simulates and fits.
    from benchmarks.material import kept_shelf
    from benchmarks.recorded import record

    with TemporaryDirectory() as folder:
        return record(kept_shelf(), Path(folder) / "recorded")


def main() -> None:
    """Serve on the port of ``FLOOR_PORT`` (8081) what ``FLOOR_RECORD`` holds (recorded now without it), until told to stop."""
    given = os.environ.get("FLOOR_RECORD")
    record = _recorded() if given is None else opened(Path(given))
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(os.environ.get("FLOOR_PORT", "8081"))))
    config = uvicorn.Config(
        App(record, models=os.environ.get("FLOOR_MODELS", "yes") == "yes"),
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=2048,
    )
    # As the service does after its start.
    gc.collect()
    gc.freeze()
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
