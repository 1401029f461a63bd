"""What the fuzzer starts from, what it keeps, and how it makes one case of another.

A case is a value to be spelt, or bytes where a value is past saving. This module must not know what is done with a case.
"""

import pickle
import random
from typing import Any, Final, NamedTuple

from benchmarks.fuzz import spelling, values
from service.http.examples import EXAMPLES

KINDS: Final = ("auth", "routing", "retry", "outcomes")
FORMS: Final[dict[str, spelling.Spelling]] = {"json": spelling.as_json, "msgpack": spelling.as_msgpack}
_TYPES: Final = (
    b"application/json", b"application/json; charset=utf-8", b"application/msgpack", b"application/x-msgpack",
    b"APPLICATION/JSON",
    b"application/json;charset=latin-1", b"text/plain", b"", b";", b"application/vnd.msgpack", b"multipart/form-data; boundary=x",
    b"\xff", b"application/json; charset=\"utf-8\"; x=\"a;b\"",
)  # fmt: skip
_HEADERS: Final = (
    (b"x-pointsman-budget-ms", b"45"), (b"x-pointsman-budget-ms", b"0.001"), (b"x-pointsman-budget-ms", b"1e3"),
    (b"x-pointsman-budget-ms", b"-1"), (b"x-pointsman-budget-ms", b"9" * 40), (b"x-pointsman-budget-ms", b"\xd9\xa1"),
    (b"accept", b"application/msgpack"), (b"accept", b"application/json;q=0.1, application/msgpack;q=nan"),
    (b"accept", b"*/*"),
    (b"accept", b"," * 200), (b"accept", b"application/json;q=1e999"),
    (b"accept", b"application/msgpack;q=much"), (b"accept", b"\xff\xfe"), (b"content-encoding", b"gzip"),
    (b"content-encoding", b"identity"), (b"content-encoding", b""), (b"content-length", b"0"),
    (b"content-length", b"99999999999999"),
    (b"content-length", b"-1"), (b"content-length", b"abc"), (b"content-length", b"\xb2"), (b"content-length", b"70000"),
    (b"x-pointsman-timing", b"1"), (b"authorization", b"Bearer x"), (b"authorization", b"\xff"), (b"x-api-key", b"pm_"),
)  # fmt: skip
_METHODS: Final = ("GET", "PUT", "HEAD", "OPTIONS", "PATCH", "post", "", "POST ")
_LONGEST_KEPT: Final = 8_000
_LONGEST_PLAIN: Final = 60_000
"""Bytes from which a body may be too long, and comes in parts as often as not: then only the last part tells."""
_MOST: Final = 4000
"""Cases kept; beyond it a random one makes room."""


class Case(NamedTuple):
    """One request: where it goes, with which method and headers, its body in the parts it comes in, and what it was made of.

    `gone` says that the client leaves before the end.
    """

    kind: str
    method: str
    headers: tuple[tuple[bytes, bytes], ...]
    parts: tuple[bytes, ...]
    gone: bool = False
    value: Any = None

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.parts)


class Kept(NamedTuple):
    """A case worth making others of: its kind, and its value pickled, or its body."""

    kind: str
    value: bytes | None
    body: bytes


def seeds() -> list[Kept]:
    """Return a valid message of every kind, with every field and with few."""
    payment = EXAMPLES["AuthRequest"]
    least = ("payment_id", "merchant_id", "amount_minor", "currency", "card_token", "card_network", "issuer_country")
    short = {name: payment[name] for name in least}
    full = {
        **payment,
        "customer_id": "customer_1",
        "device_id": "device_1",
        "credentials": ["network_token", "card_number"],
    }
    attempt = {"processor": "atlas", "status": "declined", "occurred_at": "2026-11-23T06:14:00Z", "response_code": "51"}
    decline = {**EXAMPLES["RetryRequest"]["decline"], "advice_code": "03"}
    outcome = EXAMPLES["Outcome"]
    trees: list[tuple[str, Any]] = [
        *[(kind, tree) for kind in ("auth", "routing") for tree in (short, full)],
        ("retry", {**short, "decline": {"processor": "atlas"}}),
        ("retry", {**full, "decline": decline, "previous_attempts": [attempt] * 3}),
        ("outcomes", outcome),
        ("outcomes", {"payment_id": "pay_01", "kind": "refund"}),
        ("outcomes", [outcome, {**outcome, "kind": "chargeback", "status": None}]),
    ]
    # A list long enough to be read in turns takes fifty times as long as the others do: it comes more seldom.
    long = ("outcomes", [{**outcome, "decision_id": "d" * 100, "attempt": number + 1} for number in range(60)])
    return [Kept(kind, pickle.dumps(tree), b"") for kind, tree in (*trees * 6, long)]


class Corpus:
    """The cases kept, and the next ones.

    Parameters
    ----------
    draw
        Where chance comes from.
    """

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._kept = seeds()
        self._first = len(self._kept)
        self._number = 0

    def __len__(self) -> int:
        return len(self._kept)

    def keep(self, case: Case) -> None:
        """Keep a case that reached something new."""
        if len(case.body) > _LONGEST_KEPT:
            return
        value = None
        if case.value is not None:
            try:
                value = pickle.dumps(case.value)
            except RecursionError:
                # Deeper than can be changed any further: its bytes can.
                value = None
        kept = Kept(case.kind, value, b"" if value is not None else case.body)
        if len(self._kept) < _MOST:
            self._kept.append(kept)
        else:
            self._kept[self._draw.randrange(self._first, _MOST)] = kept

    def next(self) -> Case:
        """Return the next case."""
        draw = self._draw
        self._number += 1
        # Half of what is made is made of the valid messages, so that the far side of the edge is reached as well.
        kept = draw.choice(self._kept[: self._first] if draw.random() < 0.5 else self._kept)
        form = "json" if draw.random() < 0.7 else "msgpack"
        value = None
        if kept.value is not None:
            value = pickle.loads(kept.value)  # noqa: S301  (pickled by this module)
            for _ in range(draw.choice((0, 1, 1, 1, 2, 3, 5))):
                value = self._changed(value)
            if isinstance(value, dict) and draw.random() < 0.7:
                # Another question under an attempt's key would be refused before it is looked at.
                value["payment_id"] = f"fuzz_{self._number}"
            body = FORMS[form](value, draw)
        else:
            body = kept.body
        if value is None or draw.random() < 0.12:
            body, value = self._garbled(body), None
        kind = kept.kind if draw.random() < 0.97 else draw.choice(KINDS)
        if draw.random() < 0.001:
            more = draw.choice((b" ", b"x", body))
            body += more * (1_200_000 // max(len(more), 1))
        return self._sent(kind, form, body[:1_200_000], value)

    def _sent(self, kind: str, form: str, body: bytes, value: Any) -> Case:
        """Return the case of a body: with a method, with headers, in parts."""
        draw = self._draw
        media = f"application/{form}".encode() if draw.random() < 0.97 else draw.choice(_TYPES)
        headers = [(b"content-type", media)]
        if draw.random() < 0.5:
            headers.append((b"content-length", b"%d" % len(body)))
        if draw.random() < 0.1:
            headers.append(draw.choice(_HEADERS))
        method = "POST" if draw.random() < 0.995 else draw.choice(_METHODS)
        parts: tuple[bytes, ...] = (body,)
        if draw.random() < (0.05 if len(body) < _LONGEST_PLAIN else 0.5) and len(body) > 2:
            cut = draw.randrange(len(body))
            parts = (body[:cut], b"", body[cut:])
        return Case(kind, method, tuple(headers), parts, draw.random() < 0.003, value)

    def _changed(self, value: Any) -> Any:
        """Return a value with one place of it changed."""
        draw = self._draw
        places: list[tuple[Any, Any]] = []
        _places(value, places, 400)
        if not places or draw.random() < 0.01:
            return values.hostile(draw)
        holder, at = draw.choice(places)
        act = draw.randrange(10)
        if act < 4:
            holder[at] = values.ordinary(at if isinstance(at, str) else "processor", draw)
        elif act < 7:
            holder[at] = values.hostile(draw)
        elif act == 7:
            del holder[at]
        elif act == 8 and isinstance(holder, dict):
            self._named(holder, at)
        else:
            self._several(holder, at)
        return value

    def _named(self, holder: dict[Any, Any], at: Any) -> None:
        """Add a field, or give one another name."""
        draw = self._draw
        name = draw.choice(
            (
                f"{at}s",
                str(at).upper(),
                values.card(draw),
                values.ordinary("", draw),
                "",
                "x" * 300,
                "decline",
                "status",
            )
        )
        holder[name] = holder.pop(at) if draw.random() < 0.3 else draw.choice((1, None, values.hostile(draw)))

    def _several(self, holder: Any, at: Any) -> None:
        """Make many of one, or change a string in one place."""
        draw = self._draw
        old = holder[at]
        if isinstance(old, list):
            holder[at] = ((old or [values.hostile(draw)]) * self._times())[:2000]
        elif isinstance(old, str) and old:
            cut = draw.randrange(len(old))
            holder[at] = (
                old[:cut] + draw.choice(("\n", "\x00", "é", " ", "-", "9", values.card(draw), "")) + old[cut + 1 :]
            )
        elif isinstance(holder, list):
            holder.extend([old] * self._times())
        else:
            holder[at] = [old]

    def _times(self) -> int:
        draw = self._draw
        return draw.choice((17, 101, 1001)) if draw.random() < 0.05 else 2

    def _garbled(self, body: bytes) -> bytes:
        """Return bytes with one to four blows to them."""
        draw = self._draw
        raw = bytearray(body)
        for _ in range(draw.randrange(1, 5)):
            at = draw.randrange(len(raw) + 1)
            act = draw.randrange(6)
            if act == 0 and raw:
                raw[at % len(raw)] ^= 1 << draw.randrange(8)
            elif act == 1:
                raw[at:at] = draw.choice(spelling.TOKENS)
            elif act == 2:
                del raw[at : at + draw.randrange(1, 30)]
            elif act == 3:
                del raw[at:]
            elif act == 4:
                raw[at:at] = raw[at : at + 200] * draw.choice((1, 3, 50))
            else:
                raw[at:at] = draw.randbytes(draw.randrange(1, 9))
        return bytes(raw[:600_000])


def _places(value: Any, found: list[tuple[Any, Any]], most: int) -> None:
    """Gather holders and keys of every place in a value, up to `most`, deep ones not beyond reason."""
    waiting = [value]
    while waiting and len(found) < most:
        holder = waiting.pop()
        inside = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
        for at, inner in inside:
            found.append((holder, at))
            if isinstance(inner, dict | list):
                waiting.append(inner)
