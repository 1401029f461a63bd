"""What a load asks: requests of a simulated world as raw bytes, without end, every payment with an id of its own.

This module must not know who sends them, nor how.
"""

from collections.abc import Iterator
from itertools import count, cycle
from typing import Any, Final

import msgspec

from benchmarks.client import Requests
from benchmarks.material import workload
from service.http.decisions import PREFIX

MIXES: Final = ("auth", "retry", "flow")
_BEHIND: Final = 4_096


def requests(mix: str, run: str, key: str | None = None) -> Requests:
    """Yield requests without end, every payment with an id of its own.

    Parameters
    ----------
    mix
        ``auth``, ``retry``: questions of that kind alone. ``flow``: of ten requests five of auth, four outcomes of payments
        asked about some time before, and one retry.
    run
        Part of every payment id; another run gives other payments.
    key
        API key of whoever asks; without one nobody says who asks.
    """
    auths = cycle([_request("auth", *each, key) for each in _templates("auth")])
    retries = cycle([_request("retry", *each, key) for each in _templates("retry")])
    if mix in ("auth", "retry"):
        only = auths if mix == "auth" else retries
        for number in count(1):
            head, tail = next(only)
            yield mix, b"%b%b%010d%b" % (head, run.encode(), number, tail)
    told = {"payment_id": "", "status": "approved", "response_code": "00", "latency_ms": 640}
    outcome = _request("outcomes", *_template(told), key)
    pattern = cycle(("auth", "outcome", "auth", "outcome", "auth", "outcome", "auth", "outcome", "auth", "retry"))
    settled = 0
    for number, kind in enumerate(pattern, start=1):
        named = number
        if kind == "auth":
            head, tail = next(auths)
        elif kind == "outcome":
            # Far enough behind that its payment has been decided, or else one nobody knows, which is answered as well.
            settled = max(settled + 2, number - _BEHIND)
            named = settled | 1
            head, tail = outcome
        else:
            head, tail = next(retries)
        yield kind, b"%b%b%010d%b" % (head, run.encode(), named, tail)


def bodies(kind: str, run: str) -> Iterator[bytes]:
    """Yield bodies of requests of one kind without end, all of the same length: spaces after the JSON fill the shorter ones."""
    templates = _templates(kind)
    longest = max(len(before) + len(after) for before, after in templates)
    padded = cycle([(before, after + b" " * (longest - len(before) - len(after))) for before, after in templates])
    for number in count(1):
        before, after = next(padded)
        yield b"%b%b%010d%b" % (before, run.encode(), number, after)


def _templates(kind: str) -> list[tuple[bytes, bytes]]:
    asked = workload()
    return [_template(each) for each in (asked.auths if kind == "auth" else asked.retries)]


def _template(message: Any) -> tuple[bytes, bytes]:
    """Return the bytes of a body before and after the last eleven characters of its payment id."""
    mark = "0" * 11
    members = {key: value for key, value in msgspec.to_builtins(message).items() if value is not None}
    body = msgspec.json.encode({**members, "payment_id": "bench_" + mark})
    before, after = body.split(mark.encode())
    return before, after


def _request(path: str, before: bytes, after: bytes, key: str | None) -> tuple[bytes, bytes]:
    """Return the bytes of a request before and after the same place."""
    authorization = "" if key is None else f"authorization: Bearer {key}\r\n"
    head = (
        f"POST {PREFIX}/{path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{authorization}"
        f"content-length: {len(before) + 11 + len(after)}\r\n\r\n"
    )
    return head.encode() + before, after
