"""The committed JSON Schemas are the structs', are valid, and accept what the service says of itself."""

import json
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from contracts import schema
from contracts.base import Wire
from contracts.schema import FOLDER, MESSAGES, render, write_all
from service.http.examples import EXAMPLES

NAME_OF = {kind.__name__: name for name, kind in MESSAGES.items() if isinstance(kind, type)}

PAYMENT = EXAMPLES["AuthRequest"]
OUTCOME = EXAMPLES["Outcome"]
AT = "2026-11-24T06:14:01Z"
AUTH_DECIDED = {"type": "auth_decided", "decided_at": AT, "request": PAYMENT, "answer": EXAMPLES["Decision"]}
RETRY_DECIDED = {
    "type": "retry_decided",
    "decided_at": AT,
    "request": EXAMPLES["RetryRequest"],
    "answer": EXAMPLES["RetryDecision"],
    "vectors": {"fingerprint": "f1", "processors": ["adler"], "rows": "AACAPw=="},
}
SETTLED = {"type": "outcome_settled", "received_at": AT, "outcome": OUTCOME, "result": "applied"}

MANIFEST = {
    "format": 1,
    "version": "b1",
    "created_at": AT,
    "feature_fingerprint": "f1",
    "features": ["amount_minor"],
    "encodings": {},
    "models": {"approval": {"algorithm": "none", "inputs": ["amount_minor"], "prior": 0.8}},
    "processors": {},
    "priors": {"approval": {"visa": 0.8}},
    "policy": {
        "version": "p1",
        "margin_share": 0.1,
        "chargeback_fee_minor": 1500,
        "tier_medium": 0.2,
        "tier_high": 0.6,
        "challenge_from": 0.3,
        "review_from": 0.5,
        "decline_from": 0.8,
        "minimum_approval": 0.05,
        "exploration": 0.02,
        "low_value_minor": {"EUR": 3000},
        "retry": {
            "waits_seconds": [0, 3600],
            "minimum_probability": 0.1,
            "minimum_value_minor": 1.0,
            "horizon_seconds": 86_400,
        },
    },
    "data": {
        "first": AT,
        "last": AT,
        "attempts": 1,
        "payments": 1,
        "train_until": AT,
        "test_from": AT,
    },
}

SAID: list[tuple[str, Any]] = [
    *((NAME_OF[kind], example) for kind, example in EXAMPLES.items()),
    ("liveness", {"live": True}),
    ("readiness", {"ready": False, "parts": {"bundle": {"state": "not_ready", "reason": "none is loaded yet"}}}),
    ("audit_trail", {"decision": AUTH_DECIDED, "outcomes": [SETTLED]}),
    ("journal_event", AUTH_DECIDED),
    ("journal_event", RETRY_DECIDED),
    ("journal_event", SETTLED),
    ("manifest", MANIFEST),
]


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(
        json.loads((FOLDER / f"{name}.json").read_bytes()), format_checker=Draft202012Validator.FORMAT_CHECKER
    )


@pytest.mark.parametrize("name", MESSAGES)
def test_a_committed_schema_is_what_the_struct_renders(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_bytes() == render(MESSAGES[name]), "run `python -m contracts`"


def test_there_is_no_schema_of_a_message_that_is_gone() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in MESSAGES}


def test_writing_all_writes_each_once(tmp_path: Any) -> None:
    written = write_all(tmp_path / "schemas")
    assert [path.stem for path in written] == list(schema.MESSAGES)
    assert written[0].read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("name", MESSAGES)
def test_a_committed_schema_is_valid_2020_12(name: str) -> None:
    document = json.loads((FOLDER / f"{name}.json").read_bytes())
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(document)


@pytest.mark.parametrize(("name", "said"), SAID, ids=lambda value: value if isinstance(value, str) else "")
def test_an_example_is_valid_by_schema_and_by_struct_alike(name: str, said: Any) -> None:
    validator(name).validate(said)
    message = msgspec.json.decode(msgspec.json.encode(said), type=MESSAGES[name])
    validator(name).validate(json.loads(msgspec.json.encode(message)))


def test_every_message_has_an_example() -> None:
    assert {name for name, _ in SAID} == set(MESSAGES)


@pytest.mark.parametrize("kind", NAME_OF.values())
def test_every_message_is_immutable_and_every_request_refuses_what_it_does_not_know(kind: str) -> None:
    config = MESSAGES[kind].__struct_config__
    assert config.frozen
    assert config.forbid_unknown_fields == issubclass(MESSAGES[kind], Wire)
    assert config.forbid_unknown_fields == (kind.endswith("_request") or kind == "outcome")


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("auth_request", {**PAYMENT, "amount_minor": "1299"}),
        ("auth_request", {**PAYMENT, "amount_minor": -1}),
        ("auth_request", {**PAYMENT, "amount": 1}),
        ("auth_request", {**PAYMENT, "issuer_country": "de"}),
        ("auth_request", {**PAYMENT, "initiator": "nobody"}),
        ("auth_request", {**PAYMENT, "processors": ["a"] * 17}),
        ("auth_request", {key: value for key, value in PAYMENT.items() if key != "currency"}),
        ("retry_request", PAYMENT),
        ("outcome", {**OUTCOME, "latency_ms": 600_001}),
        ("outcome", {**OUTCOME, "kind": "loss"}),
    ],
)
def test_what_a_struct_refuses_its_schema_refuses_too(name: str, broken: dict[str, Any]) -> None:
    assert not validator(name).is_valid(broken)
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(broken), type=MESSAGES[name])
