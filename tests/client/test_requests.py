"""What a client sends: the struct as it is, the key, the budget; and how it reads what comes back."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import msgspec
import pytest

from client import Client
from client.calls import MOST_BYTES, reports
from client.options import Options
from contracts.outcome import Outcome
from contracts.payment import Decline, RetryRequest, RoutingRequest
from tests.client import fake
from tests.client.conftest import REQUEST, Ask, Play
from tests.client.fake import DECIDED, DECISION, RETRY
from tests.parts import PAYMENT

OUTCOME = Outcome(payment_id="pay_1", status="approved")


def test_each_question_goes_to_its_own_path(ask: Ask, play: Play) -> None:
    service = play(DECIDED, DECIDED, fake.reply(200, msgspec.json.encode(RETRY)), fake.received(1))
    assert ask(service.url, "auth", REQUEST) == DECISION
    assert ask(service.url, "routing", RoutingRequest(**PAYMENT)) == DECISION
    assert ask(service.url, "retry", RetryRequest(**PAYMENT, decline=Decline(processor="adler"))) == RETRY
    assert ask(service.url, "report", OUTCOME).results == ("applied",)
    assert [asked.line for asked in service.asked] == [
        f"POST /api/decisioning/{name} HTTP/1.1" for name in ("auth", "routing", "retry", "outcomes")
    ]
    for asked in service.asked:
        assert asked.headers["content-type"] == asked.headers["accept"] == "application/json"
        assert "authorization" not in asked.headers


def test_bodies_may_be_messagepack(ask: Ask, play: Play) -> None:
    service = play(fake.reply(200, msgspec.msgpack.encode(DECISION), "application/msgpack"))
    assert ask(service.url, "auth", REQUEST, form="msgpack") == DECISION
    assert service.asked[0].headers["content-type"] == "application/msgpack"
    assert msgspec.msgpack.decode(service.asked[0].body, type=type(REQUEST)) == REQUEST


def test_a_field_that_a_newer_service_adds_is_passed_over(ask: Ask, play: Play) -> None:
    newer = {**msgspec.to_builtins(DECISION), "added_later": {"x": 1}}
    assert ask(play(fake.reply(200, msgspec.json.encode(newer))).url, "auth", REQUEST) == DECISION


def test_a_path_before_the_api_is_kept(ask: Ask, play: Play) -> None:
    service = play(DECIDED)
    ask(f"{service.url}/pointsman/", "auth", REQUEST)
    assert service.asked[0].line == "POST /pointsman/api/decisioning/auth HTTP/1.1"


def test_the_key_is_sent_and_a_rotated_one_is_taken_up_by_the_next_try(ask: Ask, play: Play) -> None:
    service = play(DECIDED)
    ask(service.url, "auth", REQUEST, key="pm_1_secret")
    assert service.asked[0].headers["authorization"] == "Bearer pm_1_secret"
    service = play(fake.reset, DECIDED)
    keys = iter(["pm_1_old", "pm_2_new"])
    ask(service.url, "auth", REQUEST, key=lambda: next(keys))
    assert [asked.headers["authorization"] for asked in service.asked] == ["Bearer pm_1_old", "Bearer pm_2_new"]


def test_the_key_is_in_no_text(play: Play) -> None:
    assert "secret" not in repr(Options(url="http://x", key="pm_1_secret"))
    with Client("http://127.0.0.1:1", key="pm_1_secret", tries=1) as client:
        with pytest.raises(Exception, match="connection failed") as caught:
            client.auth(REQUEST)
        assert "secret" not in repr(client) + repr(caught.value) + repr(caught.value.__cause__)


def test_the_service_is_told_how_long_it_may_take(ask: Ask, play: Play) -> None:
    service = play(DECIDED)
    ask(service.url, "auth", REQUEST, budget_ms=25.0)
    assert service.asked[0].headers["x-pointsman-budget-ms"] == "25.000"
    ask(service.url, "auth", REQUEST, timeout_seconds=5.0, try_seconds=5.0)
    assert 0 < float(service.asked[1].headers["x-pointsman-budget-ms"]) <= 5000
    ask(service.url, "auth", REQUEST, timeout_seconds=1e9, try_seconds=1e9)
    assert service.asked[2].headers["x-pointsman-budget-ms"] == "999999.000"
    service = play(fake.received(1))
    ask(service.url, "report", OUTCOME)
    assert "x-pointsman-budget-ms" not in service.asked[0].headers


def test_a_long_list_goes_in_parts_and_comes_back_as_one_receipt(ask: Ask, play: Play) -> None:
    service = play(fake.received(1000), fake.received(1000, "journal"), fake.received(500, "journal"))
    outcomes = [Outcome(payment_id=f"pay_{number}", status="approved") for number in range(2500)]
    receipt = ask(service.url, "report", outcomes)
    assert len(receipt.results) == 2500
    assert receipt.degraded == ("journal",)
    sent = [outcome for asked in service.asked for outcome in msgspec.json.decode(asked.body, type=list[Outcome])]
    assert sent == outcomes


def test_a_list_is_split_by_its_size_too() -> None:
    long = Outcome(
        payment_id="p" * 128, decision_id="d" * 128, processor="q" * 64, status="approved", response_code="51"
    )
    parts = list(reports([long] * 2500, "json"))
    assert max(len(part.content or b"") for part in parts) <= MOST_BYTES + 2
    assert sum(len(msgspec.json.decode(part.content or b"")) for part in parts) == 2500


def test_no_outcome_is_no_report(ask: Ask, play: Play) -> None:
    with pytest.raises(ValueError, match="at least one"):
        ask(play(DECIDED).url, "report", [])


def test_not_being_ready_is_an_answer(ask: Ask, play: Play) -> None:
    body = b'{"ready":false,"parts":{"bundle":{"state":"not_ready","reason":"none is loaded yet"}}}'
    service = play(fake.reply(503, body))
    told = ask(service.url, "ready")
    assert (told.ready, told.parts["bundle"].reason) == (False, "none is loaded yet")
    assert service.asked[0].line == "GET /health/ready HTTP/1.1"
    assert "content-type" not in service.asked[0].headers


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"url": "pointsman:8080"}, "url"),
        ({"url": "ftp://pointsman"}, "url"),
        ({"url": "http://"}, "url"),
        ({"url": "http://pointsman/?a=1"}, "url"),
        ({"url": "http://user:secret@pointsman"}, "no user and no password"),
        ({"url": "http://x", "timeout_seconds": 0.0}, "timeout_seconds"),
        ({"url": "http://x", "timeout_seconds": float("nan")}, "timeout_seconds"),
        ({"url": "http://x", "try_seconds": float("inf")}, "try_seconds"),
        ({"url": "http://x", "budget_ms": -1.0}, "budget_ms"),
        ({"url": "http://x", "tries": 0}, "tries"),
    ],
)
def test_options_that_cannot_work_are_refused_at_once(options: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong) as caught:
        Client(**options)
    assert "secret" not in str(caught.value)


def test_one_client_serves_many_threads(play: Play) -> None:
    service = play(DECIDED)
    together = threading.Barrier(8)

    def ask_some(client: Client) -> int:
        together.wait(timeout=30)
        return sum(client.auth(REQUEST) == DECISION for _ in range(20))

    with (
        Client(service.url, timeout_seconds=60.0, try_seconds=50.0, connections=3) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        assert sum(pool.map(ask_some, [client] * 8)) == 160


def test_a_transport_of_ones_own_is_used(ask: Ask) -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=msgspec.json.encode(DECISION), headers={"content-type": "application/json"})

    assert ask("http://x", "auth", REQUEST, transport=httpx.MockTransport(handle)) == DECISION
