"""HTTP itself: media types, limits, budgets, methods, readiness, errors inside, and what is asked beside decisions."""

import logging
import time
from typing import Any

import jsonschema
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.activation import ActivateRequest, ActivationHistory, ActivationReceipt, RollbackRequest
from contracts.decision import Decision, RetryDecision
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest
from contracts.problem import Problem
from service import errors
from service.errors import JournalUnavailable, ServiceError, StoreTimeout
from service.http.examples import EXAMPLES
from service.http.problems import MAPPINGS, REFUSALS, problem_of

QUESTIONS = ["auth", "routing", "retry", "outcomes"]
LIMIT = 65_536


def subclasses(kind: type) -> set[type]:
    return {kind}.union(*(subclasses(inner) for inner in kind.__subclasses__()))


def test_an_auth_request_gets_its_decision(edge: Any, payment: Any) -> None:
    answer = edge.post("auth", payment)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert msgspec.json.decode(answer.body, type=Decision).action == "approve"
    assert isinstance(edge.decider.asked[0][0], AuthRequest)


def test_each_question_reaches_its_own_method(edge: Any, payment: Any, retry: Any) -> None:
    edge.post("routing", payment)
    assert msgspec.json.decode(edge.post("retry", retry).body, type=RetryDecision).verdict == "stop"
    assert [type(request) for request, _ in edge.decider.asked] == [RoutingRequest, RetryRequest]


@pytest.mark.parametrize(
    ("media_type", "accept", "answered"),
    [
        (None, None, "application/json"),
        ("application/json; charset=utf-8", None, "application/json"),
        ("Application/JSON", "*/*", "application/json"),
        ("application/json", "application/msgpack", "application/msgpack"),
        ("application/json", "application/msgpack;q=0.5, application/json", "application/json"),
        ("application/json", "text/html", "application/json"),
        ("application/json", "application/json;q=nonsense", "application/json"),
        ("application/msgpack", None, "application/msgpack"),
        ("application/x-msgpack", None, "application/msgpack"),
        ("application/msgpack", "application/json", "application/json"),
    ],
)
def test_an_answer_comes_in_the_form_wanted(
    edge: Any, payment: Any, media_type: str | None, accept: str | None, answered: str
) -> None:
    packed = media_type is not None and "msgpack" in media_type
    body = msgspec.msgpack.encode(payment) if packed else msgspec.json.encode(payment)
    headers = {"content-type": media_type, "accept": accept}
    answer = edge.ask(
        "POST", "/api/decisioning/auth", body, {name: value for name, value in headers.items() if value is not None}
    )
    assert (answer.status, answer.headers["content-type"]) == (200, answered)
    decode = msgspec.msgpack.decode if answered.endswith("msgpack") else msgspec.json.decode
    assert decode(answer.body, type=Decision).payment_id == "pay_1"


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
def test_other_media_types_are_refused(edge: Any, payment: Any, headers: Any) -> None:
    answer = edge.ask("POST", "/api/decisioning/auth", msgspec.json.encode(payment), headers)
    assert answer.refusal == (415, "unsupported_media_type", "$")


def test_a_body_up_to_the_limit_is_read_and_one_above_is_not(edge: Any, payment: Any) -> None:
    body = msgspec.json.encode(payment)
    padded = body + b" " * (LIMIT - len(body))
    assert edge.post("auth", padded).status == 200
    answer = edge.post("auth", padded + b" ")
    assert answer.refusal == (413, "body_too_large", "$")
    assert answer.headers["connection"] == "close"


def test_the_limit_holds_without_a_content_length(edge: Any, payment: Any) -> None:
    body = msgspec.json.encode(payment)
    parts = [body, *[b" " * 10_000] * 10]
    answer = edge.ask("POST", "/api/decisioning/auth", parts, declare_length=False)
    assert answer.refusal == (413, "body_too_large", "$")
    assert edge.ask("POST", "/api/decisioning/auth", parts[:3], declare_length=False).status == 200


@pytest.mark.parametrize("length", ["70000", "9" * 5000])
def test_a_length_that_says_too_much_is_refused_unread(edge: Any, payment: Any, length: str) -> None:
    answer = edge.post("auth", payment, content_length=length)
    assert answer.refusal == (413, "body_too_large", "$")


def test_the_limit_can_be_set(edge_with: Any, payment: Any) -> None:
    assert edge_with(body_limit=2_000_000).post("auth", {**payment, "x": "y" * 1_000_000}).code == "unknown_field"


def test_nobody_is_answered_when_the_client_has_gone(edge: Any) -> None:
    assert edge.ask("POST", "/api/decisioning/auth", []).status == 0
    assert edge.metrics.endpoint("/api/decisioning/auth").statuses == {499: 1}


def granted(edge: Any, payment: Any, **headers: str) -> float:
    before = time.monotonic()
    assert edge.post("auth", payment, **headers).status == 200
    return float((edge.decider.asked[-1][1] - before) * 1000)


def test_a_budget_is_lowered_by_its_header_and_never_raised(edge: Any, payment: Any) -> None:
    assert 45 <= granted(edge, payment) < 60
    assert 12.5 <= granted(edge, payment, x_pointsman_budget_ms="12.5") < 27
    assert 45 <= granted(edge, payment, x_pointsman_budget_ms="5000") < 60
    assert 12.3 <= granted(edge, payment, x_pointsman_budget_ms="12.3456789012345678901234") < 27


@pytest.mark.parametrize("raw", ["", "0", "0.0009", "-5", "soon", "nan", "inf", "1e3", "1_0", " 5", "5;6", "9" * 30])
def test_a_budget_that_is_no_number_is_refused(edge: Any, payment: Any, raw: str) -> None:
    assert edge.post("auth", payment, x_pointsman_budget_ms=raw).refusal == (400, "bad_header", "$")


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_without_a_bundle_is_not_ready(edge: Any, payment: Any, retry: Any, name: str) -> None:
    edge.bundles.active = None
    body = {"auth": payment, "routing": payment, "retry": retry, "outcomes": {"payment_id": "x", "kind": "refund"}}
    answer = edge.post(name, body[name])
    assert answer.refusal == (503, "not_ready", "$")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("name", QUESTIONS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("tail", ["", "/"])
def test_another_method_is_not_allowed(edge: Any, name: str, method: str, tail: str) -> None:
    answer = edge.ask(method, f"/api/decisioning/{name}{tail}")
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", "POST")


def test_a_trailing_slash_does_not_matter(edge: Any, payment: Any) -> None:
    assert edge.post("auth/", payment).status == 200


def test_what_is_not_there_is_not_found(edge: Any) -> None:
    for path in ("/", "/nothing", "/api/decisioning", "/api/decisions", "/api/decisioning/auth/x"):
        assert edge.get(path).refusal == (404, "not_found", "$")


def test_a_read_only_path_refuses_to_be_posted_to(edge: Any) -> None:
    answer = edge.ask("POST", "/api/models")
    assert answer.refusal == (405, "method_not_allowed", "$")
    assert "GET" in answer.headers["allow"]


def test_a_bad_host_header_is_a_bad_request(edge: Any) -> None:
    edge_headers = {"host": "a b/\\c"}
    answer = edge.ask("GET", "/health/live", headers=edge_headers)
    assert answer.status in {200, 400}


def test_an_error_inside_says_nothing_of_itself(edge: Any, payment: Any, caplog: pytest.LogCaptureFixture) -> None:
    edge.decider.raises = KeyError("secret-canary")
    answer = edge.post("auth", payment)
    assert answer.refusal == (500, "internal", "$")
    assert b"canary" not in answer.body
    assert edge.metrics.unexpected == {"/api/decisioning/auth": 1}
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert caplog.records[0].exc_info is not None
    assert "shop_1" not in caplog.records[0].getMessage()


def test_an_error_inside_a_reading_says_nothing_of_itself(edge: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_id: str) -> None:
        message = "secret-canary"
        raise RuntimeError(message)

    edge.journal.find = broken
    answer = edge.get("/api/decisions/dec_1")
    assert answer.refusal == (500, "internal", "$")
    assert b"canary" not in answer.body
    assert sum(edge.metrics.unexpected.values()) == 1
    assert len(caplog.records) == 1


def test_an_outage_is_a_503_that_says_when_to_try_again(edge: Any) -> None:
    outcome = {"payment_id": "x", "kind": "refund"}
    for error, code in (
        (StoreTimeout(10), "store_unavailable"),
        (JournalUnavailable("disk full"), "journal_unavailable"),
    ):
        edge.learner.raises = error
        answer = edge.post("outcomes", outcome)
        assert answer.refusal == (503, code, "$")
        assert "retry-after" in answer.headers
    assert edge.metrics.unexpected == {}


def test_every_error_of_the_service_is_mapped() -> None:
    assert {*MAPPINGS, errors.RequestRefused, errors.AlreadyAsked} == {
        kind for kind in subclasses(ServiceError) if kind.__module__ == "service.errors"
    }
    assert set(REFUSALS) == set(errors.RefusalCode.__args__)  # type: ignore[attr-defined]
    assert all(400 <= status < 500 for status, _ in REFUSALS.values())


def test_another_question_about_an_answered_attempt_is_a_conflict_that_names_the_fields(
    edge: Any, payment: dict[str, Any]
) -> None:
    edge.decider.raises = errors.AlreadyAsked(("amount_minor", "card_token"))
    for name in ("auth", "routing"):
        answer = edge.post(name, payment)
        assert answer.refusal == (409, "already_asked", "$.payment_id")
        assert "amount_minor, card_token" in answer.json["detail"]
    assert edge.metrics.unexpected == {}


def test_an_error_from_elsewhere_is_internal() -> None:
    problem, retry_after = problem_of(ValueError("secret"))
    assert (problem.status, problem.code, retry_after) == (500, "internal", None)
    assert "secret" not in problem.detail


def test_it_is_live_whatever_happens(edge: Any) -> None:
    edge.bundles.active = None
    edge.store.wrong = "gone"
    assert edge.get("/health/live").json == {"live": True}


def test_it_is_ready_when_there_is_a_bundle(edge: Any) -> None:
    answer = edge.get("/health/ready")
    assert (answer.status, answer.json["ready"]) == (200, True)
    edge.bundles.active = None
    edge.bundles.failing = "no pointer in var/bundles"
    answer = edge.get("/health/ready")
    assert (answer.status, answer.json["ready"]) == (503, False)
    assert answer.json["parts"]["bundle"] == {"state": "not_ready", "reason": "no pointer in var/bundles"}


def test_it_stays_ready_while_it_can_answer_with_something_missing(edge: Any) -> None:
    edge.store.wrong = "connection refused"
    edge.journal.failing = "disk full"
    answer = edge.get("/health/ready")
    assert answer.status == 200
    assert [part["state"] for part in answer.json["parts"].values()] == ["ready", "degraded", "degraded"]


def test_the_active_bundle_is_shown_without_its_golden_rows(edge: Any) -> None:
    shown = edge.get("/api/models").json
    assert (shown["version"], shown["models"]["approval"]["golden_rows"]) == ("b1", [])
    edge.bundles.active = None
    assert edge.get("/api/models").refusal == (503, "not_ready", "$")


def test_a_decision_can_be_audited_with_its_outcomes(edge: Any, auth_decided: Any, outcome_settled: Any) -> None:
    decided = auth_decided("pay_7")
    edge.journal.kept += [auth_decided("pay_6"), decided, outcome_settled("pay_7"), outcome_settled("pay_7", 2)]
    trail = edge.get(f"/api/decisions/{decided.answer.decision_id}").json
    assert trail["decision"]["type"] == "auth_decided"
    assert trail["decision"]["answer"]["payment_id"] == "pay_7"
    assert [outcome["outcome"]["attempt"] for outcome in trail["outcomes"]] == [1]


def test_a_decision_nobody_made_is_not_found(edge: Any) -> None:
    for unknown in ("dec_x", "x" * 5000, "4111111111111111"):
        answer = edge.get(f"/api/decisions/{unknown}")
        assert answer.refusal == (404, "decision_not_found", "$")
        assert unknown.encode() not in answer.body


def samples(edge: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = edge.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }


def test_metrics_count_by_route_and_never_by_id(edge: Any, payment: Any) -> None:
    edge.post("auth", payment)
    edge.post("auth", b"{")
    edge.post("outcomes", {"payment_id": "x", "status": "declined"})
    edge.get("/api/decisions/dec_x")
    edge.get("/nothing")
    seen = samples(edge)
    auth = ("route", "/api/decisioning/auth")
    assert seen["pointsman_requests_total", frozenset({auth, ("status", "200")})] == 1
    assert seen["pointsman_requests_total", frozenset({auth, ("status", "400")})] == 1
    assert seen["pointsman_request_seconds_count", frozenset({auth})] == 2
    assert seen["pointsman_decisions_total", frozenset({("kind", "auth"), ("action", "approve")})] == 1
    assert seen["pointsman_degraded_total", frozenset({("code", "features:redis_timeout")})] == 1
    outcome = frozenset({("kind", "authorisation"), ("status", "declined"), ("result", "applied")})
    assert seen["pointsman_outcomes_total", outcome] == 1
    audit = frozenset({("route", "/api/decisions/{decision_id}"), ("status", "404")})
    assert seen["pointsman_requests_total", audit] == 1
    assert seen["pointsman_requests_total", frozenset({("route", "unmatched"), ("status", "404")})] == 1
    info = frozenset({("version", "b1"), ("fingerprint", "f1"), ("policy", "p1")})
    assert seen["pointsman_bundle_info", info] == 1
    assert not any("dec_x" in value for _, labels in seen for _, value in labels)


def test_the_schema_lists_exactly_the_paths_that_are_served(edge: Any) -> None:
    document = edge.get("/schema").json
    served = {route.path_format for route in edge.app.routes}
    assert set(document["paths"]) == served
    assert edge.get("/schema/openapi.json").json == document
    for path, operations in document["paths"].items():
        methods = set(operations) - {"parameters"}
        asked = path.startswith("/api/decisioning") or path in {"/api/models/activate", "/api/models/rollback"}
        assert methods == ({"post"} if asked else {"get"})


def resolved(document: Any, schema: Any) -> Any:
    return {**schema, "components": document["components"]}


def test_the_schema_accepts_its_own_examples(edge: Any) -> None:
    document = edge.get("/schema").json
    shown = 0
    for path, operations in document["paths"].items():
        for method in set(operations) - {"parameters"}:
            contents = [operations[method].get("requestBody", {}).get("content", {})]
            contents += [answer["content"] for answer in operations[method]["responses"].values()]
            for content in contents:
                for entry in content.values():
                    jsonschema.Draft202012Validator.check_schema(entry["schema"])
                    if "example" in entry:
                        jsonschema.validate(entry["example"], resolved(document, entry["schema"]))
                        shown += 1
            if "requestBody" in operations[method]:
                example = operations[method]["requestBody"]["content"]["application/json"]["example"]
                answer = edge.ask("POST", path, msgspec.json.encode(example))
                if path.startswith("/api/models/"):
                    # Where nobody is asked for a key, nobody is an administrator.
                    assert answer.refusal == (403, "forbidden", "$")
                    continue
                assert answer.status == 200
                schema = operations[method]["responses"]["200"]["content"]["application/json"]["schema"]
                jsonschema.validate(answer.json, resolved(document, schema))
    assert shown >= 20


def test_the_schema_refuses_what_the_edge_refuses(edge: Any, payment: Any) -> None:
    document = edge.get("/schema").json
    schema = resolved(document, {"$ref": "#/components/schemas/AuthRequest"})
    changes = (
        {"amount": 1},
        {"amount_minor": "1"},
        {"attempt": 0},
        {"initiator": "nobody"},
        {"currency": "ZZZ"},
        {"processors": ["adler", "adler"]},
        {"occurred_at": "2200-01-01T00:00:00Z"},
        {"occurred_at": "1969-12-31T23:59:59Z"},
    )
    jsonschema.validate({**payment, "processors": ["adler", "brook"], "occurred_at": "2199-12-31T23:59:59Z"}, schema)
    for change in changes:
        assert edge.post("auth", {**payment, **change}).status == 422
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**payment, **change}, schema)


def test_the_schema_wants_a_status_of_an_authorisation_alone(edge: Any) -> None:
    document = edge.get("/schema").json
    schema = resolved(document, {"$ref": "#/components/schemas/Outcome"})
    for outcome in ({"status": "approved"}, {"kind": "refund"}, {"kind": "chargeback", "status": None}):
        jsonschema.validate({"payment_id": "pay_1", **outcome}, schema)
        assert edge.post("outcomes", {"payment_id": "pay_1", **outcome}).status == 200
    for outcome in ({}, {"status": None}, {"kind": "authorisation"}):
        assert edge.post("outcomes", {"payment_id": "pay_1", **outcome}).code == "status_required"
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"payment_id": "pay_1", **outcome}, schema)


def test_every_example_is_what_it_says_it_is() -> None:
    kinds = (
        *(AuthRequest, RoutingRequest, RetryRequest, Outcome, OutcomeReceipt, Decision, RetryDecision, Problem),
        *(ActivateRequest, RollbackRequest, ActivationReceipt, ActivationHistory),
    )
    assert {kind.__name__ for kind in kinds} == set(EXAMPLES)
    for kind in kinds:
        msgspec.convert(EXAMPLES[kind.__name__], kind)
