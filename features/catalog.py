"""The catalog: every feature of every model, in groups, in the order of the vector.

Adding a feature is one entry here. The order is: features of the payment, then of the candidate processor, then of the
planned retry. The fingerprint of the catalog is stamped into every bundle and every journalled decision.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from contracts.bundle import ModelName
from features.clock import DAY, HOUR, MINUTE
from features.layout import LAYOUTS
from features.spec import (
    FeatureSpec,
    Scope,
    count,
    decayed,
    distinct,
    last,
    mean_amount,
    prior,
    rate,
    relative_amount,
    since,
    static,
    streak,
)

Specs = tuple[FeatureSpec, ...]

WEEK: Final = 7 * DAY
MONTH: Final = 30 * DAY
QUARTER: Final = 90 * DAY


def _approved(entity: str, *widths: int) -> Iterable[FeatureSpec]:
    return (rate(entity, "approved", "results", width) for width in widths)


def _attempts(entity: str, *widths: int) -> Iterable[FeatureSpec]:
    return (count(entity, "attempts", width) for width in widths)


GROUPS: Final[dict[str, Specs]] = {
    "amount": (
        static("major", "amount_minor", "currency"),
        static("whole", "amount_minor", "currency"),
    ),
    "time": (
        static("hour", "at"),
        static("weekday", "at"),
        static("monthday", "at"),
        static("weekend", "at"),
        static("night", "at"),
    ),
    "request": (
        static("number", "attempt"),
        static("flag", "is_network_token"),
        static("flag", "uses_3ds"),
        static("equals", "initiator", constant="merchant"),
        static("number", "fraud_score"),
        static("number", "device_trust_score"),
        static("differs", "issuer_country", "merchant_country"),
        static("differs", "ip_country", "issuer_country"),
        static("present", "cvv_result"),
        static("present", "avs_result"),
    ),
    "approval_priors": tuple(
        prior("approval", *fields)
        for fields in (
            ("card_network",),
            ("card_funding",),
            ("issuer_country",),
            ("merchant_country",),
            ("merchant_segment",),
            ("currency",),
            ("channel",),
            ("cvv_result",),
            ("avs_result",),
            ("card_network", "issuer_country"),
        )
    ),
    "chargeback_priors": tuple(
        prior("chargeback", field)
        for field in (
            "card_network",
            "card_funding",
            "issuer_country",
            "merchant_segment",
            "channel",
            "cvv_result",
            "avs_result",
        )
    ),
    "card": (
        *_attempts("card", HOUR, DAY, WEEK, MONTH, QUARTER),
        *(mean_amount("card", width) for width in (DAY, WEEK, MONTH)),
        relative_amount("card", MONTH),
        *_approved("card", DAY, MONTH, QUARTER),
        count("card", "chargebacks", MONTH),
        *(rate("card", name, "declined", MONTH) for name in ("funds", "never", "fix_data", "authenticate")),
        distinct("card", DAY),
        distinct("card", WEEK),
        since("card", "attempt"),
        since("card", "approved"),
        last("card", "approved"),
        last("card", "funds"),
        decayed("card", "approved"),
        streak("card"),
    ),
    "customer": (
        *_attempts("customer", DAY, MONTH),
        *_approved("customer", MONTH),
        distinct("customer", DAY),
        distinct("customer", MONTH),
    ),
    "device": (
        *_attempts("device", MINUTE, HOUR, DAY),
        distinct("device", HOUR),
        distinct("device", WEEK),
        streak("device"),
    ),
    "merchant": (
        *_attempts("merchant", HOUR, DAY, WEEK, MONTH),
        *_approved("merchant", HOUR, DAY, WEEK),
        relative_amount("merchant", MONTH),
        *(count("merchant", "chargebacks", width) for width in (DAY, WEEK, MONTH)),
        *(rate("merchant", "chargebacks", "attempts", width) for width in (DAY, WEEK, MONTH, QUARTER)),
        decayed("merchant", "approved"),
    ),
    "merchant_card": (
        *_attempts("merchant_card", MONTH, QUARTER),
        *_approved("merchant_card", QUARTER),
        since("merchant_card", "attempt"),
    ),
    "bin": (
        *_attempts("bin", HOUR, DAY),
        *_approved("bin", DAY, MONTH),
        rate("bin", "never", "results", DAY),
        rate("bin", "chargebacks", "attempts", MONTH),
        decayed("bin", "approved"),
    ),
    "issuer": (
        *_approved("issuer", HOUR, DAY, WEEK),
        rate("issuer", "technical", "results", HOUR),
        decayed("issuer", "approved"),
    ),
    "candidate_priors": tuple(
        prior("approval", *fields, scope="candidate")
        for fields in (
            ("processor",),
            ("processor", "card_network"),
            ("processor", "issuer_country"),
            ("processor", "card_funding"),
            ("processor", "currency"),
            ("processor", "merchant_segment"),
        )
    ),
    "processor": (
        *_attempts("processor", 15 * MINUTE, HOUR),
        *_approved("processor", 15 * MINUTE, HOUR, DAY),
        *(rate("processor", "technical", "results", width) for width in (MINUTE, 15 * MINUTE, HOUR)),
        decayed("processor", "approved"),
        decayed("processor", "technical"),
    ),
    "processor_bin": (
        count("processor_bin", "results", WEEK),
        *_approved("processor_bin", WEEK),
        decayed("processor_bin", "approved"),
    ),
    "processor_issuer": (
        *_approved("processor_issuer", DAY),
        decayed("processor_issuer", "approved"),
        decayed("processor_issuer", "technical"),
    ),
    "retry": (
        static("number", "wait_seconds", scope="retry"),
        static("hour", "retry_at", scope="retry"),
        static("weekday", "retry_at", scope="retry"),
        static("monthday", "retry_at", scope="retry"),
        static("flag", "same_processor", scope="retry"),
        prior("retry", "card_network", "response_code", scope="retry"),
        prior("retry", "response_code", scope="retry"),
        prior("retry", "advice_code", scope="retry"),
    ),
}
"""Every feature, by group: what a model names when it says what it uses."""

_APPROVAL: Final = tuple(name for name in GROUPS if name not in ("chargeback_priors", "retry"))

USES: Final[dict[ModelName, tuple[str, ...]]] = {
    "approval": _APPROVAL,
    "routing": _APPROVAL,
    "risk": (
        "amount",
        "time",
        "request",
        "chargeback_priors",
        "card",
        "customer",
        "device",
        "merchant",
        "merchant_card",
        "bin",
        "issuer",
    ),
    "retry": (*_APPROVAL, "retry"),
}
"""The groups that each model sees."""

GROUP_OF: Final[dict[str, str]] = {spec.name: group for group, specs in GROUPS.items() for spec in specs}
"""The group of every feature."""

CATALOG: Final[Specs] = tuple(spec for specs in GROUPS.values() for spec in specs)

BY_SCOPE: Final[dict[Scope, Specs]] = {
    "payment": tuple(spec for spec in CATALOG if spec.scope == "payment"),
    "candidate": tuple(spec for spec in CATALOG if spec.scope == "candidate"),
    "retry": tuple(spec for spec in CATALOG if spec.scope == "retry"),
}

PAYMENT: Final = BY_SCOPE["payment"]
CANDIDATE: Final = BY_SCOPE["candidate"]
RETRY: Final = BY_SCOPE["retry"]

NAMES: Final[tuple[str, ...]] = tuple(spec.name for spec in CATALOG)

POSITION: Final[dict[str, int]] = {name: position for position, name in enumerate(NAMES)}

if (*PAYMENT, *CANDIDATE, *RETRY) != CATALOG:
    _msg = "expected the groups of the payment first, then of the candidate, then of the retry"
    raise ValueError(_msg)
if len(POSITION) != len(NAMES):
    _msg = f"two features of the catalog share a name: {sorted({name for name in NAMES if NAMES.count(name) > 1})}"
    raise ValueError(_msg)


def inputs(model: ModelName) -> Specs:
    """Return the features a model sees, in catalog order."""
    return tuple(spec for group, specs in GROUPS.items() if group in USES[model] for spec in specs)


def fingerprint() -> str:
    """Return 16 hex digits that change with any definition, default, window, order or state layout."""
    lines = [spec.words() for spec in CATALOG] + [f"{kind}:{layout.crc:08x}" for kind, layout in LAYOUTS.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


FINGERPRINT: Final = fingerprint()
"""Of this catalog."""
