"""The canonical history: one row per attempt, as ingest and the simulator write it and the trainer reads it.

Columns a shop does not have are null in every row; nothing is invented. Times are UTC microseconds.
"""

from typing import Final, Literal

ColumnKind = Literal["string", "int", "float", "bool", "time"]

REQUIRED: Final[tuple[str, ...]] = (
    "payment_id",
    "attempt",
    "occurred_at",
    "merchant_id",
    "amount_minor",
    "currency",
    "status",
)
"""Columns that may not be null in any row."""

COLUMNS: Final[dict[str, ColumnKind]] = {
    "payment_id": "string",
    "attempt": "int",
    "occurred_at": "time",
    "merchant_id": "string",
    "merchant_segment": "string",
    "merchant_country": "string",
    "amount_minor": "int",
    "currency": "string",
    "card_token": "string",
    "customer_id": "string",
    "card_bin": "string",
    "card_network": "string",
    "card_funding": "string",
    "issuer_country": "string",
    "is_network_token": "bool",
    "uses_3ds": "bool",
    "initiator": "string",
    "channel": "string",
    "fraud_score": "float",
    "device_id": "string",
    "device_trust_score": "float",
    "ip_country": "string",
    "cvv_result": "string",
    "avs_result": "string",
    "processor": "string",
    "status": "string",
    "response_code": "string",
    "advice_code": "string",
    "latency_ms": "int",
    "settled_at": "time",
    "chargeback_at": "time",
    "propensity": "float",
}
"""Every column of the history and its kind.

- `settled_at`: when the result became known (absent: `occurred_at` + `latency_ms`);
- `chargeback_at`: when a chargeback for this attempt was reported (null: none known);
- `propensity`: the probability with which whoever routed this attempt drew its processor (null: not logged).
"""

STATUSES: Final = ("approved", "declined", "error", "timeout")
