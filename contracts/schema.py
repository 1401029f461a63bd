"""JSON Schemas (2020-12) of every message, generated from the structs and committed beside them."""

import inspect
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts.activation import ActivateRequest, ActivationHistory, ActivationReceipt, RollbackRequest
from contracts.audit import AuditTrail
from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.event import JournalEvent
from contracts.health import Liveness, Readiness
from contracts.outcome import Outcome, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest
from contracts.problem import Problem

FOLDER: Final = Path(__file__).parent / "schemas"

MESSAGES: Final[dict[str, Any]] = {
    "auth_request": AuthRequest,
    "routing_request": RoutingRequest,
    "retry_request": RetryRequest,
    "outcome": Outcome,
    "outcome_receipt": OutcomeReceipt,
    "decision": Decision,
    "retry_decision": RetryDecision,
    "problem": Problem,
    "liveness": Liveness,
    "readiness": Readiness,
    "audit_trail": AuditTrail,
    "activate_request": ActivateRequest,
    "rollback_request": RollbackRequest,
    "activation_receipt": ActivationReceipt,
    "activation_history": ActivationHistory,
    "journal_event": JournalEvent,
    "manifest": Manifest,
}


_RULES: Final[dict[str, dict[str, Any]]] = {
    # An authorisation, which an outcome is unless it says otherwise, has a status.
    "Outcome": {
        "anyOf": [
            {"properties": {"status": {"type": "string"}}, "required": ["status"]},
            {"properties": {"kind": {"enum": ["chargeback", "refund"]}}, "required": ["kind"]},
        ]
    }
}
"""What holds between the fields of a message, by its title: no type of a single field can say it."""


def tidy(schema: Any) -> Any:
    """Return a schema with what holds between fields, and with descriptions free of their docstrings' indentation.

    Only Python 3.13 takes that off itself.
    """
    if isinstance(schema, dict):
        return {
            name: inspect.cleandoc(value) if name == "description" and isinstance(value, str) else tidy(value)
            for name, value in schema.items()
        } | _RULES.get(str(schema.get("title")), {})
    return [tidy(value) for value in schema] if isinstance(schema, list) else schema


def render(message: Any) -> bytes:
    """Return the JSON Schema of a message as indented, newline-terminated JSON."""
    schema = tidy(msgspec.json.schema(message))
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def write_all(folder: Path = FOLDER) -> list[Path]:
    """Write every schema into `folder` and return the paths written."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, message in MESSAGES.items():
        path = folder / f"{name}.json"
        path.write_bytes(render(message))
        paths.append(path)
    return paths
