"""The OpenAPI 3.1 document of the service, written at start from the structs that decode and encode.

Litestar describes ordinary handlers only, and would describe what Litestar decodes; the hot path is raw ASGI and decodes
itself, so the document is made here, from the same types. A test holds it against the routes of the app.
This module must not know any handler.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from contracts.audit import AuditTrail
from contracts.bundle import Manifest
from contracts.decision import Decision, RetryDecision
from contracts.health import Liveness, Readiness
from contracts.outcome import Outcome, OutcomeBatch, OutcomeReceipt
from contracts.payment import AuthRequest, RetryRequest, RoutingRequest
from contracts.problem import Problem
from contracts.schema import tidy
from service.http.examples import EXAMPLES
from service.http.problems import HTTP_CODES, MAPPINGS, REFUSALS

_TYPES: Final[tuple[Any, ...]] = (
    AuthRequest, RoutingRequest, RetryRequest, Outcome, OutcomeBatch, Decision, RetryDecision, OutcomeReceipt, Problem,
    Manifest, AuditTrail, Liveness, Readiness,
)  # fmt: skip
_RAW: Final = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
_SCHEMAS: Final[list[dict[str, Any]]] = tidy(list(_RAW[0]))
_COMPONENTS: Final[dict[str, Any]] = tidy(_RAW[1])
_SCHEMA_OF: Final = dict(zip((str(kind) for kind in _TYPES), _SCHEMAS, strict=True))
_WHY: Final = {
    400: "The body or a header cannot be read.",
    404: "There is no such thing.",
    409: "The same attempt was asked about before, with another body; its answer stands.",
    413: "The body is too large.",
    415: "The media type is not supported.",
    422: "The body breaks the contract; `code` and `path` say how and where.",
    500: "A bug.",
    503: "Not ready, or something needed is unavailable; Retry-After says when to try again.",
}


def document(body_limit: int) -> dict[str, Any]:
    """Return the document as plain values.

    Parameters
    ----------
    body_limit
        Largest body of a decision request, in bytes.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pointsman",
            "version": _version(),
            "summary": "Decides whether, how and through which processor to send a card payment, and whether to retry.",
            "description": _description(body_limit),
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "decisioning", "description": "The four questions of a gateway."},
            {"name": "operations", "description": "Health, metrics, the active bundle, audit."},
        ],
        "paths": _paths(),
        "components": {"schemas": _COMPONENTS},
    }


def _version() -> str:
    try:
        return version("pointsman")
    except PackageNotFoundError:
        return "0"


def _description(body_limit: int) -> str:
    codes = sorted({*REFUSALS, *(mapping.code for mapping in MAPPINGS.values()), *(c[0] for c in HTTP_CODES.values())})
    return (
        "Money is in integer minor units, times are RFC 3339 with an offset. Bodies are JSON or MessagePack, at most "
        f"{body_limit} bytes (lists of outcomes: eight times that). No card number may be sent in any field. "
        "A refusal is an RFC 9457 problem with one of these codes: " + ", ".join(f"`{code}`" for code in codes) + "."
    )


def _paths() -> dict[str, Any]:
    outcomes = {"anyOf": [_schema(Outcome), _schema(OutcomeBatch)]}
    return {
        "/api/decisioning/auth": _question(
            "decideAuth", "Should this payment be sent, and how?", AuthRequest, Decision, budget=True
        ),
        "/api/decisioning/routing": _question(
            "decideRouting",
            "Through which processor should this payment be sent?",
            RoutingRequest,
            Decision,
            budget=True,
        ),
        "/api/decisioning/retry": _question(
            "decideRetry", "Is this decline worth another try?", RetryRequest, RetryDecision, budget=True
        ),
        "/api/decisioning/outcomes": _question(
            "reportOutcomes",
            "What became of one attempt, or of up to 1000.",
            outcomes,
            OutcomeReceipt,
            example="Outcome",
        ),
        "/api/models": _reading("readModels", "The active bundle, without its golden rows.", Manifest, 503),
        "/api/decisions/{decision_id}": {
            **_reading("readDecision", "A decision as journalled, and its outcomes.", AuditTrail, 404, 503),
            "parameters": [
                {
                    "name": "decision_id",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1, "maxLength": 128},
                }
            ],
        },
        "/health/live": _reading("readLiveness", "The process answers.", Liveness),
        "/health/ready": _reading(
            "readReadiness", "How each part is; 503 until a bundle is loaded.", Readiness, also={503: Readiness}
        ),
        "/metrics": _text("readMetrics", "Everything counted, in the Prometheus text format."),
        "/schema": _reading("readSchema", "This document.", {"type": "object"}),
        "/schema/openapi.json": _reading("readSchemaFile", "This document.", {"type": "object"}),
    }


def _schema(kind: Any) -> dict[str, Any]:
    return kind if isinstance(kind, dict) else _SCHEMA_OF[str(kind)]


def _content(kind: Any, example: str | None, *media_types: str) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _schema(kind)}
    name = example or getattr(kind, "__name__", "")
    json_content = {**content, "example": EXAMPLES[name]} if name in EXAMPLES else content
    return {media: json_content if media.endswith("json") else content for media in media_types}


def _problems(*statuses: int) -> dict[str, Any]:
    return {
        str(status): {"description": _WHY[status], "content": _content(Problem, None, "application/problem+json")}
        for status in statuses
    }


def _question(
    operation_id: str, summary: str, asked: Any, answered: Any, *, example: str | None = None, budget: bool = False
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "summary": summary,
        "tags": ["decisioning"],
        "requestBody": {
            "required": True,
            "content": _content(asked, example, "application/json", "application/msgpack"),
        },
        "responses": {
            "200": {
                "description": "The answer.",
                "content": _content(answered, None, "application/json", "application/msgpack"),
            },
            **_problems(400, *((409,) if budget else ()), 413, 415, 422, 500, 503),
        },
    }
    if budget:
        operation["parameters"] = [
            {
                "name": "x-pointsman-budget-ms",
                "in": "header",
                "required": False,
                "description": "Milliseconds this answer may take; it can lower the service's own budget, never raise it.",
                "schema": {"type": "number", "exclusiveMinimum": 0},
            }
        ]
    return {"post": operation}


def _reading(
    operation_id: str, summary: str, answered: Any, *statuses: int, also: dict[int, Any] | None = None
) -> dict[str, Any]:
    others = {
        str(status): {"description": _WHY[status], "content": _content(kind, None, "application/json")}
        for status, kind in (also or {}).items()
    }
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": ["operations"],
            "responses": {
                "200": {"description": "The answer.", "content": _content(answered, None, "application/json")},
                **others,
                **_problems(*statuses, 500),
            },
        }
    }


def _text(operation_id: str, summary: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "get": {
            "operationId": operation_id,
            "summary": summary,
            "tags": ["operations"],
            "responses": {"200": {"description": "The answer.", "content": content}, **_problems(500)},
        }
    }
