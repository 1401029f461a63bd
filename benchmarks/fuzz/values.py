"""What a hostile sender puts where a value was, and what an ordinary one might.

This module must not know how a body is written or sent.
"""

import random
from collections.abc import Callable
from typing import Any, Final

CARD_NUMBERS: Final = (
    "4111111111111111",
    "4222222222222",
    "4000000000000000006",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "6011111111111117",
    "30569309025904",
    "3530111333300000",
    "6200000000000005",
    "6759649826438453",
    "2200000000000004",
    "9792000000000003",
)
"""One of every brand, all of them published for tests."""

_ARABIC: Final = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_WIDE: Final = str.maketrans("0123456789", "０１２３４５６７８９")


def _grouped(number: str, gap: str) -> str:
    return gap.join(number[at : at + 4] for at in range(0, len(number), 4))


_DRESSES: Final[tuple[Callable[[str], str], ...]] = (
    lambda number: number,
    lambda number: _grouped(number, " "),
    lambda number: _grouped(number, "-"),
    lambda number: _grouped(number, "\u00a0"),
    lambda number: _grouped(number, "\u200b"),
    lambda number: number.translate(_ARABIC),
    lambda number: number.translate(_WIDE),
    lambda number: f"card {number}, thanks",
    lambda number: f"%B{number}^DOE/JOHN^2512101",
    lambda number: f";{number}=25121010000012345678?",
    lambda number: f"{number}D25121010000",
    lambda number: f"\n{number}\n",
    lambda number: f"{number[:6]} {number[6:]}",
    lambda number: f"2026-11-24 {_grouped(number, ' ')} 12/29 123",
    lambda number: f"17-{_grouped(number, '-')}-12-29",
    lambda number: f"8812-{number}-7",
    lambda number: number[:-1] + str((int(number[-1]) + 1) % 10),
    lambda number: f"9{number}9",
)

STRINGS: Final = (
    "", " ", "\n", "DE\n", "EUR\n", "\x00", "\u2028", "\ufeff", "\ud800", "\udfff\ud800", "💳", "é" * 128, "x" * 128,
    "x" * 129,
    "x" * 5000, "null", "true", "NaN", "1299", "1e3", "0x10", "-1", "visa", "VISA", "Vísa", "de", "D", "DEU", "ZZ", "EUR", "ZZZ",
    "XAU", "JPY", "KWD", "..", "../../etc/passwd", "a" * 64, "a" * 65, "a b", "-a", "_", "A_B", "'; drop table", "<script>",
    "%s%n",
    "${jndi:ldap://x}", "{{7*7}}", "\\", '"', "\u202e", "4000-" * 25, "1-" * 60, "0" * 128, "411111", "4111111", "41111111",
    "550e8400-e29b-41d4-a716-446655440000", "4111111111111111D2512101", "customer", "merchant", "network_token", "approved",
    "declined", "error", "timeout", "authorisation", "chargeback", "refund", "51", "05", "N7", "R1", "00", "1A", "TOOLONGCODE",
)  # fmt: skip
TIMES: Final = (
    "2026-11-24T06:14:00Z", "2026-11-24t06:14:00z", "2026-11-24 06:14:00Z", "2026-11-24T06:14:00", "2026-11-24T06:14:60Z",
    "2026-11-24T24:00:00Z", "2026-02-29T00:00:00Z", "2024-02-29T23:59:59.999999999Z", "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59Z", "1970-01-01T00:00:00+23:59", "2199-12-31T23:59:59.999999Z", "2199-12-31T23:59:59-23:59",
    "2200-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z", "2026-11-24",
    "2026-11-24T06:14:00+24:00", "2026-11-24T06:14:00-00:00", "2026-11-24T06:14Z", "1764000000", "now", "2026-W48-2T00:00:00Z",
)  # fmt: skip
INTEGERS: Final = (
    0, 1, -1, 2, 6, 16, 100, 1000, 1001, 600_000, 600_001, 10**12, 10**12 + 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63,
    2**64 - 1,
    2**64, -(2**63), -(2**63) - 1, 10**30, 10**400, 4111111111111111, 4222222222222, 378282246310005,
)  # fmt: skip
FLOATS: Final = (
    0.0, -0.0, 1.0, 0.5, 1e-320, 1e308, -1e308, 1.0000000000000002, 0.1, 1e16, 4111111111111111.0, float("nan"), float("inf"),
    float("-inf"),
)  # fmt: skip

_ORDINARY: Final[dict[str, tuple[Any, ...]]] = {
    "amount_minor": (0, 1, 99, 1299, 2_999, 3_000, 9_999, 12_990, 250_000, 10**12),
    "currency": ("EUR", "USD", "JPY", "KWD", "CLF", "GBP", "EUR", "ZZZ"),
    "card_network": ("visa", "mastercard", "amex", "discover", "jcb", "unionpay", "maestro", "elo", "unheard-of"),
    "issuer_country": ("DE", "FR", "US", "BR", "GB", "IN", "XX"),
    "merchant_country": ("DE", "US", None),
    "ip_country": ("DE", "KP", None),
    "attempt": (1, 2, 3, 16, 1000),
    "occurred_at": (None, "2026-11-24T06:14:00Z", "2026-11-23T23:59:59.999999+02:00", "1970-01-01T00:00:00Z"),
    "declined_at": (None, "2026-11-24T06:14:00Z", "1990-01-01T00:00:00Z"),
    "merchant_segment": ("fashion", "travel", None),
    "card_funding": ("credit", "debit", "prepaid", None),
    "card_bin": ("400000", "41111111", None),
    "is_network_token": (True, False, None),
    "uses_3ds": (True, False, None),
    "initiator": ("customer", "merchant", None),
    "channel": ("web", "pos", "recurring", None),
    "fraud_score": (0, 0.0, 1, 1.0, 0.3, 0.99, None),
    "device_trust_score": (0.0, 0.5, 1.0, None),
    "cvv_result": ("M", "N", None),
    "avs_result": ("Y", "N", None),
    "processors": ([], ["northpay"], ["atlas", "meridian", "cobalt"], ["unheard-of"], [f"p{number}" for number in range(16)]),
    "credentials": ([], ["network_token"], ["network_token", "card_number"]),
    "processor": ("northpay", "atlas", "unheard-of"),
    "response_code": ("51", "05", "54", "91", "00", "14", None),
    "advice_code": ("01", "03", "21", "24", None),
    "decline_reason": ("insufficient_funds", "fraud", None),
    "latency_ms": (0, 640, 600_000, None),
    "kind": ("authorisation", "chargeback", "refund"),
    "status": ("approved", "declined", "error", "timeout"),
}  # fmt: skip
"""Values that the field may have, by its name."""
_FREE: Final = ("payment_id", "merchant_id", "card_token", "customer_id", "device_id", "decision_id")


def card(draw: random.Random) -> str:
    """Return a card number in some dress, or what nearly is one."""
    return draw.choice(_DRESSES)(draw.choice(CARD_NUMBERS))


def ordinary(name: str, draw: random.Random) -> Any:
    """Return a value that a field of this name may have, or any string for a name that no field has; a time may be any."""
    if name.endswith("_at") and draw.random() < 0.4:
        return draw.choice(TIMES)
    if name in _ORDINARY:
        return draw.choice(_ORDINARY[name])
    return f"{name}_{draw.randrange(50)}" if name in _FREE else draw.choice(STRINGS)


def hostile(draw: random.Random) -> Any:
    """Return a value that hardly any field may have."""
    kind = draw.randrange(12)
    if kind < 4:
        return draw.choice(STRINGS)
    if kind == 4:
        return card(draw)
    if kind == 5:
        return draw.choice(TIMES)
    if kind < 8:
        return draw.choice(INTEGERS)
    if kind == 8:
        return draw.choice(FLOATS)
    if kind == 9:
        return draw.choice((None, True, False, [], {}, [None], {"a": 1}, [[]], [{}], [1, "2", 3.0]))
    if kind == 10:
        return nested(draw)
    return "".join(
        chr(draw.choice((draw.randrange(128), draw.randrange(0x3000), draw.randrange(0x110000)))) for _ in range(8)
    )


def nested(draw: random.Random) -> Any:
    """Return something deep."""
    value: Any = draw.choice((1, "4111111111111111", None))
    for _ in range(draw.choice((3, 30, 300))):
        value = [value] if draw.random() < 0.5 else {"a": value}
    return value
