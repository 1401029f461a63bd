"""HTTP/1.1 over real sockets: whatever way a request takes, and in however many pieces it comes, its answer is the same."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.http.heads import MOST
from service.settings import Settings
from tests.service.conftest import Edge
from tests.service.http.served import Answer, Client, Served, chunked, post

AUTH = "/api/decisioning/auth"


def body(payment_id: str = "pay_1", **others: Any) -> bytes:
    return msgspec.json.encode(
        {
            "payment_id": payment_id,
            "merchant_id": "shop_1",
            "amount_minor": 1299,
            "currency": "EUR",
            "card_token": "tok_1",
            "card_network": "visa",
            "issuer_country": "DE",
            **others,
        }
    )


def decided(answer: Answer | None) -> str:
    assert answer is not None
    assert answer.status == 200, answer
    return str(json.loads(answer.body)["payment_id"])


def code(answer: Answer | None) -> tuple[int, str]:
    assert answer is not None
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status, json.loads(answer.body)["code"]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    chosen = Settings()
    with Served(Edge(None, chosen), chosen) as server:
        yield server


@pytest.fixture(scope="module")
def theirs() -> Iterator[Served]:
    """The same app behind uvicorn's own protocol."""
    chosen = Settings()
    with Served(Edge(None, chosen), chosen, theirs=True) as server:
        yield server


@pytest.fixture
def client(served: Served) -> Iterator[Client]:
    with served.client() as client:
        yield client


def test_a_connection_is_kept_and_its_head_remembered(served: Served, client: Client) -> None:
    heads = len(served.server._edge.heads.known)
    for number in range(3):
        answer = client.ask(post(AUTH, body(f"kept_{number}"), "x-test: kept"))
        assert decided(answer) == f"kept_{number}"
        assert "connection" not in answer.headers
        assert "GMT" in answer.headers["date"]
    assert len(served.server._edge.heads.known) == heads + 1


def test_each_of_the_four_is_served(client: Client) -> None:
    decline = {"processor": "adler", "response_code": "51"}
    assert decided(client.ask(post("/api/decisioning/routing", body()))) == "pay_1"
    assert client.ask(post("/api/decisioning/retry", body(decline=decline))).status == 200
    outcome = b'{"payment_id":"pay_1","status":"approved"}'
    assert client.ask(post("/api/decisioning/outcomes", outcome)).status == 200


def test_in_however_many_pieces_a_request_comes_it_is_the_same(served: Served) -> None:
    whole = post(AUTH, body("pieces"))
    with served.client() as client:
        for cut in range(1, len(whole)):
            client.send(whole[:cut])
            client.send(whole[cut:])
            assert decided(client.answer()) == "pieces"
        for byte in whole:
            client.send(bytes([byte]))
        assert decided(client.answer()) == "pieces"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (chunked(AUTH, body("chunks")[:10], body("chunks")[10:]), "chunks"),
        (post(AUTH, body("slash")).replace(AUTH.encode(), AUTH.encode() + b"/"), "slash"),
        (post(AUTH, body("query")).replace(AUTH.encode(), AUTH.encode() + b"?a=b"), "query"),
        (post(AUTH, body("coded")).replace(b"/auth", b"/%61uth"), "coded"),
        (post(AUTH, body("twice"), "x-name: one", "x-name: two"), "twice"),
        (b"\r\n" + post(AUTH, body("newline")), "newline"),
        (post(AUTH, body("upgrade"), "connection: Upgrade, HTTP2-Settings", "upgrade: h2c"), "upgrade"),
        (post(AUTH, body("case")).replace(b"content-length", b"Content-LENGTH"), "case"),
    ],
)
def test_what_is_unusual_is_answered_as_well_and_the_connection_goes_on(
    client: Client, request_: bytes, expected: str
) -> None:
    for _ in range(2):
        assert decided(client.ask(request_)) == expected
    assert decided(client.ask(post(AUTH, body("after")))) == "after"


def test_an_upgrade_offered_in_a_head_that_comes_in_pieces_is_ignored_too(client: Client) -> None:
    whole = post(AUTH, body("pieces"), "connection: Upgrade", "upgrade: h2c")
    cut = whole.index(b"upgrade: h2c") + 3
    client.send(whole[:cut])
    client.send(whole[cut:])
    assert decided(client.answer()) == "pieces"


def test_a_client_that_expects_to_be_told_to_go_on_is(client: Client) -> None:
    request = post(AUTH, body("expect"), "expect: 100-continue")
    head, end, content = request.partition(b"\r\n\r\n")
    client.send(head + end)
    told = client.answer()
    assert told is not None
    assert told.status == 100
    client.send(content)
    assert decided(client.answer()) == "expect"


@pytest.mark.parametrize("headers", [("connection: close",), ()])
def test_a_client_that_wants_no_more_is_left(client: Client, headers: tuple[str, ...]) -> None:
    request = post(AUTH, body("last"), *headers, version="1.1" if headers else "1.0")
    answer = client.ask(request)
    assert decided(answer) == "last"
    assert answer.headers["connection"] == "close"
    assert client.closed


def test_requests_sent_without_waiting_are_answered_in_their_order(client: Client) -> None:
    names = [f"pipelined_{number}" for number in range(50)]
    client.send(b"".join(post(AUTH, body(name)) for name in names))
    assert [decided(client.answer()) for _ in names] == names
    client.send(post(AUTH, body("one")), chunked(AUTH, body("two")), b"GET /health/live HTTP/1.1\r\nhost: edge\r\n\r\n")
    assert [decided(client.answer()) for _ in range(2)] == ["one", "two"]
    live = client.answer()
    assert live is not None
    assert live.body == b'{"live":true}'


def test_garbage_after_a_request_does_not_overtake_its_answer(served: Served) -> None:
    with served.client() as client:
        client.send(post(AUTH, body("first")) + b"\x00garbage\r\n\r\n")
        assert decided(client.answer()) == "first"
        assert client.closed
    assert not served.state.tasks


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"POST / HTTP/1.1\nhost: x\n\n",
        post(AUTH, b"{}", "bad header: 1"),
        post(AUTH, b"{}", "content-length: 5"),
        post(AUTH, b"{}", "transfer-encoding: chunked"),
        post(AUTH, b"{}").replace(b"content-length: 2", b"content-length: +2"),
        post(AUTH, b"{}").replace(b"content-length: 2", b"content-length: -2"),
        post(AUTH, b"{}").replace(b"content-length: 2", b"content-length: 0x2"),
        chunked(AUTH, b"{}").replace(b"2\r\n{}", b"zz\r\n{}"),
    ],
)
def test_what_is_not_http_is_a_bad_request_and_the_end(client: Client, request_: bytes) -> None:
    client.send(request_)
    answer = client.answer()
    assert code(answer) == (400, "bad_request")
    assert answer is not None
    assert answer.headers["connection"] == "close"
    assert client.closed


def test_the_head_of_another_method_has_no_body(client: Client) -> None:
    client.send(f"HEAD {AUTH} HTTP/1.1\r\nhost: edge\r\n\r\n".encode())
    answer = client.answer(head=True)
    assert answer is not None
    assert (answer.status, answer.headers["allow"]) == (405, "POST")
    assert decided(client.ask(post(AUTH, body("after")))) == "after"


def test_a_body_that_is_too_large_is_refused_before_it_has_come(client: Client) -> None:
    client.send(post(AUTH, b"", length=100_000_000))
    assert code(client.answer()) == (413, "body_too_large")
    assert client.closed


def test_a_client_that_goes_on_sending_what_is_too_large_still_hears_why(client: Client) -> None:
    client.send(post(AUTH, b"x" * 200_000))
    answer = client.answer()
    assert code(answer) == (413, "body_too_large")
    assert answer is not None
    assert answer.headers["connection"] == "close"


def test_a_body_of_exactly_the_limit_is_read(client: Client) -> None:
    padded = body("limit") + b" " * (65_536 - len(body("limit")))
    assert decided(client.ask(post(AUTH, padded))) == "limit"
    assert code(client.ask(post(AUTH, padded + b" "))) == (413, "body_too_large")


def test_a_refusal_leaves_the_connection_usable(client: Client) -> None:
    for _ in range(2):
        assert code(client.ask(post(AUTH, b"{"))) == (400, "malformed_body")
    assert decided(client.ask(post(AUTH, body("after")))) == "after"


def test_a_head_that_is_too_large_is_refused(client: Client) -> None:
    client.send(post(AUTH, body(), "x-long: " + "y" * 20_000))
    assert code(client.answer()) == (431, "head_too_large")
    assert client.closed


def test_a_head_without_end_is_refused(client: Client) -> None:
    client.send(b"POST /x HTTP/1.1\r\n", *[b"x-header: %d\r\n" % number for number in range(1_500)])
    assert code(client.answer()) == (431, "head_too_large")


def test_heads_that_all_differ_are_forgotten_in_time(served: Served, client: Client) -> None:
    for number in range(MOST + 50):
        assert decided(client.ask(post(AUTH, body("trace"), f"traceparent: {number}"))) == "trace"
    assert 0 < len(served.server._edge.heads.known) <= MOST


def test_an_answer_that_fails_inside_ends_the_connection_not_the_server(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*_: Any) -> Any:
        return None

    with served.client() as client, monkeypatch.context() as patch:
        patch.setattr(served.edge.app.lane[0], "answer", wrong)
        client.send(post(AUTH, body("fails")))
        assert client.closed
    with served.client() as client:
        assert decided(client.ask(post(AUTH, body("after")))) == "after"
    assert not served.state.tasks


HEADERS = st.lists(
    st.sampled_from(
        (
            "accept: application/json",
            "accept: */*",
            "connection: keep-alive",
            "content-type: application/json",
            "content-type: text/plain",
            "x-pointsman-budget-ms: 20",
            "x-pointsman-budget-ms: soon",
            "traceparent: 00-1",
            "content-encoding: gzip",
            "expect: 200-ok",
            "connection: upgrade",
        )
    ),
    max_size=4,
)
REQUESTS = st.builds(
    lambda method, path, headers, content: (
        "\r\n".join([f"{method} {path} HTTP/1.1", "host: edge", *headers, f"content-length: {len(content)}"]).encode()
        + b"\r\n\r\n"
        + content
    ),
    st.sampled_from(("POST", "POST", "POST", "GET", "PUT")),
    st.sampled_from((AUTH, AUTH, AUTH, "/api/decisioning/outcomes", "/health/live", "/nothing", "*")),
    HEADERS,
    st.sampled_from((body(), b"", b"{}", b"[]", body("x" * 65))),
)


def conversation(port: int, sent: bytes, cuts: list[int]) -> list[tuple[int, str, bytes]]:
    """Return all answers to these bytes, sent in pieces, until the server closes or has nothing more to say."""
    answers = []
    with Client(port) as client:
        at = 0
        for cut in sorted(cuts):
            client.send(sent[at:cut])
            at = cut
        client.send(sent[at:])
        while (answer := client.answer()) is not None:
            answers.append((answer.status, answer.headers.get("content-type", ""), answer.body))
    return answers


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(REQUESTS, min_size=1, max_size=3), st.lists(st.integers(0, 2_000), max_size=3))
def test_it_answers_what_uvicorn_would(served: Served, theirs: Served, requests: list[bytes], cuts: list[int]) -> None:
    last = post(AUTH, body("last"), "connection: close")
    sent = b"".join(requests) + last
    # Twice: the second time its heads are known.
    for _ in range(2):
        ours = conversation(served.port, sent, [])
        assert conversation(served.port, sent, [min(cut, len(sent)) for cut in cuts]) == ours
        assert conversation(theirs.port, sent, []) == ours
