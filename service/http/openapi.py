"""The OpenAPI 3.1 document of the service, written at start from the structs that decode and encode.

Litestar describes ordinary handlers only, and would describe what Litestar decodes; the hot path is raw ASGI and decodes
itself, so the document is made here, from the same types. A test holds it against the routes of the app.
This module must not know any handler.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from contracts.activation import ActivateRequest, ActivationHistory, ActivationReceipt, RollbackRequest
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
    Manifest, AuditTrail, Liveness, Readiness, ActivateRequest, RollbackRequest, ActivationReceipt, ActivationHistory,
)  # fmt: skip
_RAW: Final = msgspec.json.schema_components(_TYPES, ref_template="#/components/schemas/{name}")
_SCHEMAS: Final[list[dict[str, Any]]] = tidy(list(_RAW[0]))
_COMPONENTS: Final[dict[str, Any]] = tidy(_RAW[1])
_SCHEMA_OF: Final = dict(zip((str(kind) for kind in _TYPES), _SCHEMAS, strict=True))
_SECURITY: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key (`pm_...`) or a JSON Web Token. Scopes: decide, report, read, admin.",
    },
    "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "A key (`pm_...`)."},
}
_WHY: Final = {
    400: "The body or a header cannot be read.",
    401: "No key or token came, or none that is known.",
    403: "The key or token does not have the scope that this needs.",
    404: "There is no such thing.",
    408: "The rest of the request did not come in time.",
    409: "It cannot be, as things are: an attempt that was asked about before with another body, or a bundle that is refused.",
    413: "The body is too large.",
    415: "The media type is not supported.",
    422: "The body breaks the contract; `code` and `path` say how and where.",
    429: "More than the limit of this key or token, or more than the service takes; Retry-After says when to try again.",
    431: "The head of the request is too large.",
    500: "A bug.",
    503: "Not ready, or something needed is unavailable; Retry-After says when to try again.",
}
_TURNED_AWAY: Final = (401, 403, 429)


def document(body_limit: int, *, guarded: bool = False, metrics_open: bool = False) -> dict[str, Any]:
    """Return the document as plain values.

    Parameters
    ----------
    body_limit
        Largest body of a decision request, in bytes.
    guarded
        Whether this service asks for a key or token; each operation then names the scope it needs.
    metrics_open
        Whether the metrics are for everybody all the same.
    """
    paths = _paths()
    for path, item in paths.items():
        for method in ("get", "post"):
            if method in item:
                needs = item[method].pop("x-needs", None)
                if guarded and needs is not None and not (metrics_open and path == "/metrics"):
                    item[method]["security"] = [{name: [needs]} for name in _SECURITY]
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
            {"name": "administration", "description": "Which bundle is active, and who made it so."},
        ],
        "paths": paths,
        "components": {"schemas": _COMPONENTS, "securitySchemes": _SECURITY},
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
            needs="report",
        ),
        "/api/models": _reading(
            "readModels", "The active bundle, without its golden rows.", Manifest, 503, needs="read"
        ),
        "/api/models/history": _reading(
            "readActivations",
            "Who made which bundle the active one, newest first.",
            ActivationHistory,
            503,
            needs="read",
        ),
        "/api/models/activate": _act(
            "activateBundle", "Make a bundle of the shelf the active one.", ActivateRequest, 404, required=True
        ),
        "/api/models/rollback": _act(
            "rollBack", "Make the bundle active that was so before the present one.", RollbackRequest, required=False
        ),
        "/api/decisions/{decision_id}": {
            **_reading(
                "readDecision", "A decision as journalled, and its outcomes.", AuditTrail, 404, 503, needs="read"
            ),
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
    operation_id: str,
    summary: str,
    asked: Any,
    answered: Any,
    *,
    example: str | None = None,
    budget: bool = False,
    needs: str = "decide",
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "x-needs": needs,
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
            **_problems(400, 401, 403, 408, *((409,) if budget else ()), 413, 415, 422, 429, 431, 500, 503),
        },
        "parameters": [
            {
                "name": "x-pointsman-timing",
                "in": "header",
                "required": False,
                "description": "With it the answer has a Server-Timing header: milliseconds by stage.",
                "schema": {"type": "string"},
            }
        ],
    }
    answer = operation["responses"]["200"]
    answer["headers"] = {
        "server-timing": {
            "description": "Where the time went, when the request asked for it.",
            "required": False,
            "schema": {"type": "string"},
        }
    }
    if budget:
        operation["parameters"] += [
            {
                "name": "x-pointsman-budget-ms",
                "in": "header",
                "required": False,
                "description": "Milliseconds this answer may take; it can lower the service's own budget, never raise it.",
                "schema": {"type": "number", "minimum": 0.001, "maximum": 999_999},
            }
        ]
    return {"post": operation}


def _reading(
    operation_id: str,
    summary: str,
    answered: Any,
    *statuses: int,
    also: dict[int, Any] | None = None,
    needs: str | None = None,
) -> dict[str, Any]:
    others = {
        str(status): {"description": _WHY[status], "content": _content(kind, None, "application/json")}
        for status, kind in (also or {}).items()
    }
    return {
        "get": {
            "x-needs": needs,
            "operationId": operation_id,
            "summary": summary,
            "tags": ["operations"],
            "responses": {
                "200": {"description": "The answer.", "content": _content(answered, None, "application/json")},
                **others,
                **_problems(*(() if needs is None else _TURNED_AWAY), *statuses, 500),
            },
        }
    }


def _act(operation_id: str, summary: str, asked: Any, *statuses: int, required: bool) -> dict[str, Any]:
    return {
        "post": {
            "x-needs": "admin",
            "operationId": operation_id,
            "summary": summary,
            "tags": ["administration"],
            "requestBody": {
                "required": required,
                "content": _content(asked, None, "application/json", "application/msgpack"),
            },
            "responses": {
                "200": {
                    "description": "What is active now.",
                    "content": _content(ActivationReceipt, None, "application/json"),
                },
                **_problems(400, *_TURNED_AWAY, *statuses, 409, 413, 415, 422, 500, 503),
            },
        }
    }


def _text(operation_id: str, summary: str) -> dict[str, Any]:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "get": {
            "x-needs": "read",
            "operationId": operation_id,
            "summary": summary,
            "tags": ["operations"],
            "responses": {
                "200": {"description": "The answer.", "content": content},
                **_problems(*_TURNED_AWAY, 500),
            },
        }
    }
