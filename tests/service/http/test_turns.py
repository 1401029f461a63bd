"""A long list is read as a short one is, and others get their turn meanwhile."""

import asyncio
import json
from typing import Any

import msgspec
import pytest

from contracts.outcome import Outcome, OutcomeBatch
from service.errors import RequestRefused
from service.http import checks, decisions, turns
from service.http.messages import Message
from service.http.turns import LONGEST_MEMBER, Turns
from service.http.wire import JSON, MSGPACK, Form

FORMS = {"JSON": (JSON, msgspec.json.encode), "MessagePack": (MSGPACK, msgspec.msgpack.encode)}
WHOLE: Message[Any] = Message(Outcome | OutcomeBatch, checks.check_outcomes, ())
TURNS = Turns[Outcome](Message(Outcome, checks.check_outcomes, ()), decisions.MOST_OUTCOMES)


def outcomes(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"payment_id": f"pay_{number}", "status": "approved", "attempt": 1, **fields} for number in range(count)]


def refusal(form: Form, body: bytes) -> tuple[str, str, str]:
    with pytest.raises(RequestRefused) as caught:
        asyncio.run(TURNS.read(form, body))
    return caught.value.code, caught.value.path, caught.value.detail


@pytest.mark.parametrize(("form", "encode"), FORMS.values(), ids=FORMS.keys())
def test_a_list_reads_the_same_in_turns_as_at_once(form: Form, encode: Any) -> None:
    for body in (
        outcomes(1),
        outcomes(1000),
        outcomes(300, payment_id="4111-1111 é ٤", occurred_at="2026-11-24T06:14:00Z"),
    ):
        assert asyncio.run(TURNS.read(form, encode(body))) == WHOLE.read(form, encode(body))


@pytest.mark.parametrize("place", [0, 7, 399])
@pytest.mark.parametrize(
    "wrong",
    [
        {"unknown": 1},
        {"payment_id": 5},
        {"payment_id": "4111111111111111"},
        {"processor": "adler\n"},
        {"processor": "a b"},
        {"attempt": 0},
        {"status": None},
        {"kind": "nothing"},
        {"occurred_at": "0001-01-01T00:00:00Z"},
        {"payment_id": "x" * 129},
        {"extra": [{"number": "4111111111111111"}]},
    ],
)
@pytest.mark.parametrize(("form", "encode"), FORMS.values(), ids=FORMS.keys())
def test_a_fault_is_refused_with_the_same_words(form: Form, encode: Any, wrong: Any, place: int) -> None:
    body = outcomes(400)
    body[place] |= wrong
    with pytest.raises(RequestRefused) as whole:
        WHOLE.read(form, encode(body))
    assert refusal(form, encode(body)) == (whole.value.code, whole.value.path, whole.value.detail)
    assert whole.value.path.startswith(f"$[{place}]")


@pytest.mark.parametrize(("form", "encode"), FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("member", [5, "pay", None, [], 1.5, True])
def test_a_member_that_is_no_outcome_is_refused_with_the_same_words(form: Form, encode: Any, member: Any) -> None:
    body = [*outcomes(3), member]
    with pytest.raises(RequestRefused) as whole:
        WHOLE.read(form, encode(body))
    assert refusal(form, encode(body)) == (whole.value.code, whole.value.path, whole.value.detail)


def test_how_many_there_may_be_is_looked_at_first() -> None:
    for count in (0, 1001, 100_000):
        code, path, detail = refusal(JSON, json.dumps([{}] * count).encode())
        assert (code, path, detail) == ("out_of_range", "$", f"expected 1 to 1000 items, got {count}")


@pytest.mark.parametrize("body", [b"", b"[", b"[{},", b"[1 2]", b"{", b"[" * 100_000, b"nothing", b"[]x"])
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    assert refusal(JSON, body)[:2] == ("malformed_body", "$")


@pytest.mark.parametrize("body", [b"", b"\xdd\xff\xff\xff\xff\x01", b"\x91" * 100_000, b"\xc1", b"\x91\x01\x01"])
def test_what_is_not_messagepack_is_malformed(body: bytes) -> None:
    assert refusal(MSGPACK, body)[:2] == ("malformed_body", "$")


def test_one_member_that_is_longer_than_any_outcome_is_refused_unread() -> None:
    long = outcomes(3)
    long[1]["note"] = "4000-" * LONGEST_MEMBER
    said = ("out_of_range", f"expected at most {LONGEST_MEMBER} bytes for one outcome")
    assert refusal(JSON, json.dumps(long).encode())[::2] == said
    assert refusal(JSON, json.dumps(long).encode())[1] == "$[1]"
    assert refusal(JSON, json.dumps(long[1]).encode()) == (said[0], "$", said[1])
    assert refusal(JSON, json.dumps("4000-" * LONGEST_MEMBER).encode()) == (said[0], "$", said[1])


def test_the_longest_outcome_there_is_is_read() -> None:
    whole = {
        "payment_id": "\U0001f4b3" * 128,
        "decision_id": "\U0001f4b3" * 128,
        "processor": "p" * 64,
        "kind": "authorisation",
        "status": "declined",
        "attempt": 1000,
        "response_code": "A" * 8,
        "advice_code": "B" * 8,
        "latency_ms": 600_000,
        "occurred_at": "2026-11-24T06:14:00.123456+00:00",
    }
    body = json.dumps([whole] * 100).encode()
    assert len(body) < 100 * LONGEST_MEMBER
    assert len(asyncio.run(TURNS.read(JSON, body))) == 100


def test_others_get_their_turn_between_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", -1.0)

    async def read_beside_another() -> int:
        had = 0

        async def other() -> None:
            nonlocal had
            while True:
                had += 1
                await asyncio.sleep(0)

        beside = asyncio.create_task(other())
        await TURNS.read(JSON, json.dumps(outcomes(1000, payment_id="4000-4000 " * 12)).encode())
        beside.cancel()
        return had

    assert asyncio.run(read_beside_another()) >= 1000


def test_a_long_list_goes_through_the_edge(edge: Any) -> None:
    body = outcomes(1000, decision_id="d" * 100)
    assert len(msgspec.msgpack.encode(body)) > decisions.LONG
    for post in (edge.post, edge.post_packed):
        assert post("outcomes", body, accept="application/json").json["results"] == ["applied"] * 1000
        assert post("outcomes", [*body[:-1], {"payment_id": "x"}]).refusal == (422, "status_required", "$[999].status")
        assert post("outcomes", [*body, body[0]]).refusal == (422, "out_of_range", "$")
    assert len(edge.learner.reported) == 2000
    keys = {f"key_{number}": number for number in range(25_000)}
    assert edge.post("outcomes", {**body[0], **keys}).refusal == (422, "out_of_range", "$")
    assert edge.post("outcomes", [{**body[0], **keys}]).refusal == (422, "out_of_range", "$[0]")
