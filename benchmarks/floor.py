"""``python -m benchmarks.floor``: the least a Python process can do with these messages over HTTP.

A bare ASGI app on the service's own uvicorn settings: it decodes the same typed request and encodes an answer of the same
size, and does nothing in between. No guard, no checks, no state, no models, no journal, no metrics.
"""

import os
from typing import Any, Final

import msgspec
import uvicorn

from contracts.decision import Decision, RetryDecision
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest
from service.http.decisions import PREFIX
from service.http.examples import EXAMPLES
from service.listen import bind
from trainer.simulate.facts import PROCESSORS

_ENCODE: Final = msgspec.json.Encoder().encode
_HEADERS: Final = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


def _decision() -> Decision:
    example = msgspec.convert(EXAMPLES["Decision"], Decision)
    ranked = example.ranking[0]
    ranking = tuple(msgspec.structs.replace(ranked, processor=name) for name in PROCESSORS)
    return msgspec.structs.replace(example, ranking=ranking)


_ANSWERS: Final[dict[str, tuple[Any, Any]]] = {
    f"{PREFIX}/auth": (msgspec.json.Decoder(AuthRequest).decode, _decision()),
    f"{PREFIX}/retry": (
        msgspec.json.Decoder(RetryRequest).decode,
        msgspec.convert(EXAMPLES["RetryDecision"], RetryDecision),
    ),
    f"{PREFIX}/outcomes": (msgspec.json.Decoder(Outcome).decode, OutcomeReceipt(results=("applied",))),
}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request."""
    known = _ANSWERS.get(scope["path"])
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
        body = _ENCODE(answer)
    headers = [*_HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    """Serve on the port of ``FLOOR_PORT`` (8081) until told to stop."""
    listener = bind("127.0.0.1", int(os.environ.get("FLOOR_PORT", "8081")))
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        backlog=2048,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
