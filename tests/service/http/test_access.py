"""A service with keys asks everybody for one, says what was missing, and puts on record who moved the pointer."""

import json
import logging
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from contracts.activation import ActivationHistory, ActivationReceipt
from service import shelf
from service.access import keyfile
from service.access.caller import SCOPES
from service.http.administration import BODY_LIMIT

NEEDS = {
    ("POST", "/api/decisioning/auth"): "decide",
    ("POST", "/api/decisioning/routing"): "decide",
    ("POST", "/api/decisioning/retry"): "decide",
    ("POST", "/api/decisioning/outcomes"): "report",
    ("GET", "/api/models"): "read",
    ("GET", "/api/models/history"): "read",
    ("GET", "/api/decisions/{decision_id}"): "read",
    ("GET", "/metrics"): "read",
    ("POST", "/api/models/activate"): "admin",
    ("POST", "/api/models/rollback"): "admin",
    ("GET", "/health/live"): None,
    ("GET", "/health/ready"): None,
    ("GET", "/schema"): None,
    ("GET", "/schema/openapi.json"): None,
}


class Guarded:
    """An edge with keys, one of each scope, over a shelf of three bundles."""

    def __init__(self, edge_with: Any, folder: Path, **settings: Any) -> None:
        self.shelf = folder / "shelf"
        for version in ("v1", "v2", "v3"):
            (self.shelf / version).mkdir(parents=True)
        path = folder / "keys.json"
        self.keys = {scope: keyfile.add(path, name=f"the-{scope}", scopes=[scope]) for scope in SCOPES}
        self.edge = edge_with(keys=path, bundles=self.shelf, **settings)

    def ask(self, method: str, path: str, scope: str | None, body: bytes = b"", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if scope is not None:
            named["authorization"] = f"Bearer {self.keys[scope].text}"
        return self.edge.ask(method, path, body, named)

    def act(self, name: str, body: Any = None, **headers: str) -> Any:
        raw = b"" if body is None else msgspec.json.encode(body)
        return self.ask("POST", f"/api/models/{name}", "admin", raw, **headers)


@pytest.fixture
def guarded(edge_with: Any, tmp_path: Path) -> Guarded:
    return Guarded(edge_with, tmp_path)


def test_every_path_that_is_served_is_in_the_table_of_scopes(guarded: Guarded) -> None:
    served = {
        (method.upper(), path)
        for path, item in guarded.edge.get("/schema").json["paths"].items()
        for method in set(item) - {"parameters"}
    }
    assert served == set(NEEDS)


@pytest.mark.parametrize(("asked", "needs"), NEEDS.items(), ids=str)
def test_each_path_takes_its_own_scope_and_no_other(
    guarded: Guarded, asked: tuple[str, str], needs: str | None, payment: Any
) -> None:
    method, template = asked
    path = template.replace("{decision_id}", "dec_x")
    bare = guarded.edge.ask(method, path)
    if needs is None:
        assert bare.status == 200
        return
    assert bare.refusal == (401, "unauthenticated", "$")
    assert bare.headers["www-authenticate"] == 'Bearer realm="pointsman"'
    wrong = guarded.edge.ask(method, path, headers={"authorization": "Bearer pm_x"})
    assert wrong.refusal == (401, "unauthenticated", "$")
    assert wrong.headers["www-authenticate"] == 'Bearer realm="pointsman", error="invalid_token"'
    for scope in SCOPES:
        answer = guarded.ask(method, path, scope)
        if scope == needs:
            assert answer.status not in {401, 403, 429}
        else:
            assert answer.refusal == (403, "forbidden", "$")
            challenge = f'Bearer realm="pointsman", error="insufficient_scope", scope="{needs}"'
            assert answer.headers["www-authenticate"] == challenge
    assert guarded.edge.decider.asked == []


def test_a_request_with_a_key_is_answered_as_ever(guarded: Guarded, payment: Any) -> None:
    body = msgspec.json.encode(payment)
    answer = guarded.ask("POST", "/api/decisioning/auth", "decide", body)
    assert (answer.status, answer.json["action"]) == (200, "approve")
    with_key = guarded.edge.ask("POST", "/api/decisioning/auth", body, {"x-api-key": guarded.keys["decide"].text})
    assert with_key.body == answer.body


def test_nobody_learns_what_a_body_would_have_been_answered(guarded: Guarded, payment: Any) -> None:
    payment["payment_id"] = "4111111111111111"
    assert guarded.edge.post("auth", payment).refusal == (401, "unauthenticated", "$")
    assert guarded.edge.post("auth", b"{").refusal == (401, "unauthenticated", "$")


def test_a_body_that_nobody_reads_ends_the_connection(guarded: Guarded) -> None:
    small = guarded.edge.ask("POST", "/api/decisioning/auth", b"{}")
    assert "connection" not in small.headers
    large = guarded.edge.ask("POST", "/api/decisioning/auth", b"x" * 70_000)
    assert (large.code, large.headers["connection"]) == ("unauthenticated", "close")
    chunked = guarded.edge.ask("POST", "/api/decisioning/auth", [b"x"] * 9, declare_length=False)
    assert (chunked.code, chunked.headers["connection"]) == ("unauthenticated", "close")
    assert guarded.edge.ask("POST", "/api/models/activate", b"{}").headers["connection"] == "close"


def test_a_wrong_method_is_said_to_be_one_whoever_asks(guarded: Guarded) -> None:
    for scope in (None, *SCOPES):
        assert guarded.ask("GET", "/api/decisioning/auth", scope).refusal == (405, "method_not_allowed", "$")
        assert guarded.ask("GET", "/api/nothing", scope).refusal == (404, "not_found", "$")


def test_past_its_limit_a_key_is_told_when_to_come_again_and_others_go_on(
    edge_with: Any, tmp_path: Path, payment: Any
) -> None:
    guarded = Guarded(edge_with, tmp_path, rate=0.5, burst=3)
    body = msgspec.json.encode(payment)
    answers = [guarded.ask("POST", "/api/decisioning/auth", "decide", body) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].code == "rate_limited"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 2
    assert guarded.ask("GET", "/api/models", "read").status == 200
    for _ in range(2):
        guarded.ask("GET", "/metrics", "read")
    limited = guarded.ask("GET", "/metrics", "read")
    assert (limited.code, "retry-after" in limited.headers) == ("rate_limited", True)


def test_metrics_can_be_for_everybody(edge_with: Any, tmp_path: Path) -> None:
    guarded = Guarded(edge_with, tmp_path, metrics_open=True)
    assert guarded.edge.get("/metrics").status == 200
    assert "security" not in guarded.edge.get("/schema").json["paths"]["/metrics"]["get"]
    assert guarded.edge.get("/api/models").status == 401


def test_refusals_are_counted_by_route_and_logged_once_without_the_key(
    guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    text = guarded.keys["read"].text
    with caplog.at_level(logging.DEBUG):
        for _ in range(3):
            guarded.edge.ask("POST", "/api/decisioning/auth", b"{}", {"authorization": f"Bearer {text}"})
            guarded.edge.ask("GET", "/api/decisions/dec_x", b"", {"x-api-key": text[:-1]})
    assert [record.getMessage() for record in caplog.records] == [
        "turned away: this needs a key or token with the scope decide",
        "turned away: expected a key or token that is known and has not ended",
    ]
    assert [record.fields["route"] for record in caplog.records] == [  # type: ignore[attr-defined]
        "/api/decisioning/auth",
        "/api/decisions/{decision_id}",
    ]
    assert text[16:-1] not in caplog.text
    scraped = guarded.ask("GET", "/metrics", "read").body.decode()
    assert 'pointsman_requests_total{route="/api/decisioning/auth",status="403"} 3.0' in scraped
    assert 'pointsman_requests_total{route="/api/decisions/{decision_id}",status="401"} 3.0' in scraped


def test_readiness_says_when_a_file_of_keys_was_not_taken(guarded: Guarded) -> None:
    assert guarded.edge.get("/health/ready").json["parts"]["keys"] == {"state": "ready", "reason": None}


def test_the_schema_names_the_scope_of_each_operation(guarded: Guarded, edge: Any) -> None:
    document = guarded.edge.get("/schema").json
    schemes = document["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer"
    assert (schemes["apiKey"]["in"], schemes["apiKey"]["name"]) == ("header", "x-api-key")
    for (method, path), needs in NEEDS.items():
        operation = document["paths"][path][method.lower()]
        expected = None if needs is None else [{"bearer": [needs]}, {"apiKey": [needs]}]
        assert operation.get("security") == expected
        assert {"401", "403", "429"} <= set(operation["responses"]) or needs is None
    # Where nobody is asked for a key, the document asks for none.
    for item in edge.get("/schema").json["paths"].values():
        assert all("security" not in operation for operation in item.values())
    assert b"x-needs" not in guarded.edge.get("/schema").body


def test_an_administrator_activates_rolls_back_and_is_on_record(guarded: Guarded) -> None:
    looks = guarded.edge.bundles.looks
    receipt = msgspec.json.decode(guarded.act("activate", {"version": "v1"}).body, type=ActivationReceipt)
    assert (receipt.active, receipt.activation.before) == ("v1", None)
    assert (guarded.shelf / "active").read_text() == "v1\n"
    guarded.act("activate", {"version": "v2"}, x_forwarded_for="203.0.113.9, 10.0.0.1")
    back = guarded.act("rollback")
    assert (back.status, back.json["active"]) == (200, "v1")
    assert guarded.act("rollback", {}).refusal == (409, "no_earlier_bundle", "$")
    # The service looks at the pointer at once, and has looked at what each bundle is before it moved.
    assert guarded.edge.bundles.looks == looks + 3
    assert guarded.edge.examined == ["v1", "v2", "v1"]
    answer = guarded.ask("GET", "/api/models/history", "read")
    history = msgspec.json.decode(answer.body, type=ActivationHistory)
    schema = {
        "$ref": "#/components/schemas/ActivationHistory",
        "components": guarded.edge.get("/schema").json["components"],
    }
    jsonschema.validate(answer.json, schema)
    assert history.active == "v1"
    assert [(act.version, act.act, act.before) for act in history.activations] == [
        ("v1", "rollback", "v2"),
        ("v2", "activate", "v1"),
        ("v1", "activate", None),
    ]
    admin = guarded.keys["admin"].key
    assert {act.by for act in history.activations} == {f"key the-admin ({admin.id})"}
    assert {act.source for act in history.activations} == {"127.0.0.1"}
    assert [act.forwarded_for for act in history.activations] == [None, "203.0.113.9, 10.0.0.1", None]
    assert (guarded.shelf / shelf.ACTIVATIONS).read_bytes().count(b"\n") == 3


def test_a_bundle_that_would_not_be_served_is_not_activated(guarded: Guarded) -> None:
    guarded.act("activate", {"version": "v1"})
    guarded.edge.unfit["v2"] = "routing.onnx was altered: expected sha256 a, got b"
    refused = guarded.act("activate", {"version": "v2"})
    assert refused.refusal == (409, "bundle_refused", "$.version")
    assert refused.json["detail"] == "routing.onnx was altered: expected sha256 a, got b"
    assert guarded.act("activate", {"version": "v9"}).refusal == (404, "unknown_bundle", "$.version")
    guarded.act("activate", {"version": "v3"})
    guarded.edge.unfit["v1"] = "gone"
    assert guarded.act("rollback").refusal == (409, "bundle_refused", "$")
    assert (guarded.shelf / "active").read_text() == "v3\n"
    assert [act.version for act in shelf.activations(guarded.shelf)] == ["v1", "v3"]


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"", (400, "malformed_body", "$")),
        (b"{}", (422, "missing_field", "$.version")),
        (b'{"version":1}', (422, "wrong_type", "$.version")),
        (b'{"version":"v1","force":true}', (422, "unknown_field", "$.force")),
        (b'{"version":"../v1"}', (422, "wrong_format", "$.version")),
        (b'{"version":"/etc"}', (422, "wrong_format", "$.version")),
        (b'{"version":".."}', (422, "wrong_format", "$.version")),
        (b'{"version":"v1\\n"}', (422, "wrong_format", "$.version")),
        (b'{"version":""}', (422, "out_of_range", "$.version")),
        (b'{"version":"4111111111111111"}', (422, "pan_detected", "$.version")),
        (b" " * (BODY_LIMIT + 1), (413, "body_too_large", "$")),
    ],
)
def test_what_an_administrator_asks_is_read_as_strictly_as_the_rest(
    guarded: Guarded, body: bytes, refusal: tuple[int, str, str]
) -> None:
    assert guarded.ask("POST", "/api/models/activate", "admin", body).refusal == refusal
    assert not (guarded.shelf / "active").exists()


def test_a_rollback_takes_no_body_but_an_empty_object(guarded: Guarded) -> None:
    assert guarded.act("rollback", {"version": "v1"}).refusal == (422, "unknown_field", "$.version")


def test_a_shelf_that_cannot_be_written_is_a_503_and_nothing_moves(guarded: Guarded) -> None:
    guarded.act("activate", {"version": "v1"})
    (guarded.shelf / shelf.ACTIVATIONS).unlink()
    (guarded.shelf / shelf.ACTIVATIONS).mkdir()
    answer = guarded.act("activate", {"version": "v2"})
    assert (answer.status, answer.code) == (503, "shelf_unavailable")
    assert answer.json["detail"] == "the shelf of bundles cannot be used: Is a directory"
    assert (guarded.shelf / "active").read_text() == "v1\n"
    assert guarded.ask("GET", "/api/models/history", "read").status == 503


def test_where_nobody_is_asked_for_a_key_nobody_is_an_administrator(edge_with: Any, tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    edge = edge_with(bundles=tmp_path)
    for name in ("activate", "rollback"):
        answer = edge.ask("POST", f"/api/models/{name}", json.dumps({"version": "v1"}).encode())
        assert answer.refusal == (403, "forbidden", "$")
    assert edge.get("/api/models/history").json == {"active": None, "activations": []}
    assert not (tmp_path / "active").exists()


def test_every_answer_has_the_headers_for_browsers(guarded: Guarded, payment: Any) -> None:
    for answer in (
        guarded.edge.get("/health/live"),
        guarded.edge.get("/metrics"),
        guarded.edge.get("/nothing"),
        guarded.ask("POST", "/api/decisioning/auth", "decide", msgspec.json.encode(payment)),
        guarded.ask("POST", "/api/decisioning/auth", "decide", b"{"),
    ):
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["x-frame-options"] == "DENY"
