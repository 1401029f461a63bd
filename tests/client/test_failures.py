"""Whatever the network or the service does, a client comes back in its time, with an answer or with the right error."""

import socket
import ssl
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from client import (
    AlreadyAsked,
    ClientError,
    Failed,
    NotAllowed,
    NotFound,
    Overloaded,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
    Unreadable,
)
from client.calls import auth, decision
from client.options import Options
from client.seam import failure_of
from client.trying import Tries
from contracts.outcome import Outcome
from tests.client import fake
from tests.client.conftest import REQUEST, Ask, Play
from tests.client.fake import DECIDED, DECISION
from tests.servers import free_port

PASSING = {
    "reset": fake.reset,
    "hung up": fake.hang_up,
    "half an answer": fake.raw(
        b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 900\r\n\r\n{"deci'
    ),
    "half a head": fake.raw(b"HTTP/1.1 200 OK\r\ncontent-ty"),
    "no HTTP": fake.raw(b"\x16\x03\x01 what is this\r\n\r\n"),
    "429": fake.problem(429, "overloaded"),
    "429 of a proxy": fake.reply(429, b"<h1>slow down</h1>", "text/html", retry_after="0"),
    "503": fake.problem(503, "not_ready", retry_after="0"),
    "502": fake.reply(502, b"<h1>bad gateway</h1>", "text/html"),
    "504": fake.reply(504),
    "408": fake.problem(408, "request_timeout"),
    "408 of a proxy": fake.raw(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
}


@pytest.mark.parametrize("act", PASSING.values(), ids=PASSING.keys())
def test_what_passes_is_tried_again_with_the_same_bytes(ask: Ask, play: Play, act: fake.Act) -> None:
    service = play(act, act, DECIDED)
    assert ask(service.url, "auth", REQUEST) == DECISION
    assert len(service.asked) == 3
    assert {asked.body for asked in service.asked} == {msgspec.json.encode(REQUEST)}


@pytest.mark.parametrize("act", PASSING.values(), ids=PASSING.keys())
def test_what_does_not_pass_is_given_up_after_the_last_try(ask: Ask, play: Play, act: fake.Act) -> None:
    service = play(act)
    with pytest.raises(Unavailable) as caught:
        ask(service.url, "auth", REQUEST, tries=2)
    assert caught.value.tries == len(service.asked) == 2


@pytest.mark.parametrize("act", PASSING.values(), ids=PASSING.keys())
def test_outcomes_count_once_so_they_are_tried_again_too(ask: Ask, play: Play, act: fake.Act) -> None:
    service = play(act, fake.received(1))
    outcome = Outcome(payment_id="pay_1", status="approved")
    assert ask(service.url, "report", outcome).results == ("applied",)
    assert service.asked[0].body == service.asked[1].body


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (fake.reset, Unreachable),
        (fake.hang_up, Unreachable),
        (PASSING["half an answer"], Unreachable),
        (PASSING["429"], Overloaded),
        (PASSING["503"], Overloaded),
        (PASSING["502"], Failed),
        (fake.problem(500, "internal"), Failed),
        (fake.reply(200, b"{}"), Unreadable),
    ],
)
def test_each_failure_is_its_own_error(ask: Ask, play: Play, act: fake.Act, kind: type[Unavailable]) -> None:
    service = play(act)
    with pytest.raises(kind) as caught:
        ask(service.url, "auth", REQUEST, tries=1)
    assert type(caught.value) is kind
    assert caught.value.sent


def test_nobody_listening_is_unreachable_and_nothing_was_sent(ask: Ask) -> None:
    with pytest.raises(Unreachable) as caught:
        ask(f"http://127.0.0.1:{free_port()}", "auth", REQUEST)
    assert (caught.value.sent, caught.value.tries) == (False, 3)


@pytest.mark.parametrize(
    "act",
    [
        fake.silence,
        fake.drip(b"HTTP/1.1 200 OK\r\nx-long: "),
        fake.drip(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n"),
    ],
    ids=["silence", "a head that never ends", "a body that never ends"],
)
def test_a_slow_service_is_left_when_the_time_is_over(ask: Ask, play: Play, act: fake.Act) -> None:
    service = play(act)
    with pytest.raises(TimedOut):
        ask(service.url, "auth", REQUEST, timeout_seconds=0.5)
    assert len(service.asked) == 1


def test_a_try_that_takes_too_long_leaves_time_for_another(ask: Ask, play: Play) -> None:
    service = play(fake.silence, DECIDED)
    assert ask(service.url, "auth", REQUEST, try_seconds=1.0) == DECISION
    assert len(service.asked) == 2


def test_one_call_may_have_less_time_than_its_client(ask: Ask, play: Play) -> None:
    service = play(fake.silence)
    with pytest.raises(TimedOut):
        ask(service.url, "auth", REQUEST, call_seconds=0.2)


def test_the_wait_that_a_service_asks_for_is_kept_or_not_begun(ask: Ask, play: Play) -> None:
    service = play(fake.problem(503, "not_ready", retry_after="3600"), DECIDED)
    with pytest.raises(Overloaded) as caught:
        ask(service.url, "auth", REQUEST)
    assert (caught.value.status, caught.value.retry_after, caught.value.tries) == (503, 3600.0, 1)
    assert caught.value.problem is not None
    assert caught.value.problem.code == "not_ready"


@pytest.mark.parametrize("said", ["Wed, 21 Oct 2015 07:28:00 GMT", "soon", "-1", ""])
def test_a_strange_retry_after_is_no_reason_to_stop(ask: Ask, play: Play, said: str) -> None:
    assert ask(play(fake.reply(429, retry_after=said), DECIDED).url, "auth", REQUEST) == DECISION


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed_body", Refused),
        (401, "unauthorised", NotAllowed),
        (403, "forbidden", NotAllowed),
        (404, "decision_not_found", NotFound),
        (409, "already_asked", AlreadyAsked),
        (413, "body_too_large", Refused),
        (422, "out_of_range", Refused),
    ],
)
def test_a_refusal_is_told_and_never_tried_again(
    ask: Ask, play: Play, status: int, code: str, kind: type[Refused]
) -> None:
    service = play(fake.problem(status, code))
    with pytest.raises(kind) as caught:
        ask(service.url, "auth", REQUEST)
    assert (caught.value.status, caught.value.code, caught.value.path) == (status, code, "$.x")
    assert type(caught.value) is kind
    assert len(service.asked) == 1


@pytest.mark.parametrize("body", [b"<h1>forbidden</h1>", b""])
def test_a_refusal_without_a_problem_is_a_refusal_all_the_same(ask: Ask, play: Play, body: bytes) -> None:
    with pytest.raises(NotAllowed) as caught:
        ask(play(fake.reply(403, body, "text/html")).url, "auth", REQUEST)
    assert (caught.value.code, caught.value.problem.type) == ("http_403", "about:blank")
    assert "h1" not in str(caught.value)


def test_a_bug_of_the_service_is_not_asked_for_twice(ask: Ask, play: Play) -> None:
    service = play(fake.problem(500, "internal"), DECIDED)
    with pytest.raises(Failed) as caught:
        ask(service.url, "auth", REQUEST)
    assert caught.value.status == 500
    assert len(service.asked) == 1


UNREADABLE = {
    "not JSON": fake.reply(200, b"<h1>welcome</h1>"),
    "a page": fake.reply(200, b"<h1>welcome</h1>", "text/html"),
    "empty": fake.reply(200, b""),
    "another shape": fake.reply(200, b'{"results":["applied"]}'),
    "a wrong type": fake.reply(200, msgspec.json.encode(DECISION).replace(b'"attempt":1', b'"attempt":"SECRET"')),
    "deeper than deep": fake.reply(200, b"[" * 100_000),
    "a surrogate": fake.reply(200, b'{"decision_id":"\\ud800"}'),
    "no UTF-8": fake.reply(200, b'{"decision_id":"\xff"}'),
    "compressed": fake.reply(200, b"\x1f\x8b", content_encoding="gzip"),
    "moved": fake.reply(307, location="http://127.0.0.1:1/"),
    "nothing": fake.reply(204),
    "without end": fake.endless,
}


@pytest.mark.parametrize("act", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_answer_that_is_not_of_the_contract_is_unreadable(ask: Ask, play: Play, act: fake.Act) -> None:
    service = play(act)
    with pytest.raises(Unreadable) as caught:
        ask(service.url, "auth", REQUEST)
    assert len(service.asked) == 1
    assert "SECRET" not in str(caught.value)


def test_every_exception_of_httpx_becomes_one_of_the_client() -> None:
    def below(kind: type[httpx.RequestError]) -> list[type[httpx.RequestError]]:
        return [kind, *(lower for direct in kind.__subclasses__() for lower in below(direct))]

    request = httpx.Request("POST", "http://secret.internal/")
    kinds = {kind: type(failure_of(kind("secret.internal", request=request))) for kind in below(httpx.RequestError)}
    assert len(kinds) >= 18
    for kind, mapped in kinds.items():
        assert issubclass(mapped, Unavailable)
        assert issubclass(kind, httpx.TimeoutException) == (mapped is TimedOut)
        assert "secret" not in str(failure_of(kind("secret.internal", request=request)))
    unsent = {kind for kind in kinds if not failure_of(kind("", request=request)).sent}
    assert unsent == {httpx.ConnectTimeout, httpx.ConnectError, httpx.PoolTimeout, httpx.UnsupportedProtocol}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Unreachable("reset"), False),
        (Unreachable("refused", sent=False), True),
        (TimedOut("late"), False),
        (TimedOut("no connection", sent=False), True),
        (Overloaded(429, None), True),
        (Overloaded(503, None), False),
        (Failed(502), False),
    ],
)
def test_what_is_not_idempotent_is_tried_again_only_when_it_was_not_taken(error: Unavailable, again: bool) -> None:
    options = Options(url="http://x", timeout_seconds=60)
    for idempotent in (True, False):
        tries = Tries(auth(REQUEST, "json")._replace(idempotent=idempotent), options)
        tries.begin()
        assert (tries.wait_after(error) is not None) is (idempotent or again)


def test_over_tls_the_certificate_is_checked_and_the_time_kept(ask: Ask, play: Play, certificate: Path) -> None:
    service = play(DECIDED, fake.drip(b"HTTP/1.1 200 OK\r\nx-long: "), certificate=certificate)
    with pytest.raises(Unreachable) as caught:
        ask(service.url, "auth", REQUEST)
    assert not caught.value.sent
    trusting = ssl.create_default_context(cafile=str(certificate))
    assert ask(service.url, "auth", REQUEST, verify=trusting) == DECISION
    with pytest.raises(TimedOut):
        ask(service.url, "auth", REQUEST, verify=trusting, timeout_seconds=0.5)


def test_without_time_nothing_is_sent(ask: Ask, play: Play) -> None:
    service = play(DECIDED)
    with pytest.raises(TimedOut) as caught:
        ask(service.url, "auth", REQUEST, call_seconds=0.0)
    assert not caught.value.sent
    assert service.asked == []


def test_a_connection_is_used_again_and_one_that_was_closed_meanwhile_does_no_harm(play: Play) -> None:
    from client import Client

    def closes(wire: socket.socket, ended: Any) -> None:
        DECIDED(wire, ended)
        fake.hang_up(wire, ended)

    service = play(DECIDED, closes, DECIDED)
    with Client(service.url, timeout_seconds=30.0, try_seconds=20.0) as client:
        for _ in range(4):
            assert client.auth(REQUEST) == DECISION
    assert service.connections == 2


def test_a_decision_id_cannot_leave_its_place_in_the_path(ask: Ask, play: Play) -> None:
    assert decision("../models?x=1#y").path == "/api/decisions/..%2Fmodels%3Fx%3D1%23y"
    service = play(fake.problem(404, "decision_not_found"))
    with pytest.raises(NotFound):
        ask(service.url, "decision", "../models?x=1\r\nx-evil: 1")
    assert service.asked[0].line == "GET /api/decisions/..%2Fmodels%3Fx%3D1%0D%0Ax-evil%3A%201 HTTP/1.1"
    assert "x-evil" not in service.asked[0].headers


def test_all_errors_have_one_base() -> None:
    assert {Refused, Unavailable} == set(ClientError.__subclasses__())
