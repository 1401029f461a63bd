"""The catalog: every feature of every model, in the order of the vector.

Adding a feature is one entry here. The order is: features of the payment, then of the candidate processor, then of the
planned retry. The fingerprint of the catalog is stamped into every bundle and every journalled decision.
"""

import hashlib
from typing import Final

from features.clock import DAY, HOUR, MINUTE
from features.layout import LAYOUTS
from features.spec import (
    FeatureSpec,
    Scope,
    count,
    mean_amount,
    prior,
    rate,
    relative_amount,
    since_last,
    static,
)

PAYMENT: Final[tuple[FeatureSpec, ...]] = (
    static("major", "amount_minor", "currency"),
    static("whole", "amount_minor", "currency"),
    static("number", "attempt"),
    static("hour", "at"),
    static("weekday", "at"),
    static("monthday", "at"),
    static("weekend", "at"),
    static("night", "at"),
    static("flag", "is_network_token"),
    static("flag", "uses_3ds"),
    static("equals", "initiator", constant="merchant"),
    static("number", "fraud_score"),
    static("number", "device_trust_score"),
    static("differs", "issuer_country", "merchant_country"),
    static("differs", "ip_country", "issuer_country"),
    static("present", "cvv_result"),
    static("present", "avs_result"),
    *(
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
    *(
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
    *(count("card", "attempts", width) for width in (HOUR, DAY, 7 * DAY, 30 * DAY)),
    *(mean_amount("card", width) for width in (DAY, 7 * DAY, 30 * DAY)),
    relative_amount("card", 30 * DAY),
    *(rate("card", "approved", "results", width) for width in (DAY, 30 * DAY)),
    count("card", "chargebacks", 30 * DAY),
    since_last("card"),
    *(count("merchant", "attempts", width) for width in (HOUR, DAY, 7 * DAY, 30 * DAY)),
    *(rate("merchant", "approved", "results", width) for width in (HOUR, DAY, 7 * DAY)),
    *(count("merchant", "chargebacks", width) for width in (DAY, 7 * DAY, 30 * DAY)),
    *(rate("merchant", "chargebacks", "attempts", width) for width in (DAY, 7 * DAY, 30 * DAY)),
    *(count("bin", "attempts", width) for width in (HOUR, DAY)),
    *(rate("bin", "approved", "results", width) for width in (DAY, 30 * DAY)),
    rate("bin", "chargebacks", "attempts", 30 * DAY),
    *(rate("issuer", "approved", "results", width) for width in (HOUR, DAY, 7 * DAY)),
)

CANDIDATE: Final[tuple[FeatureSpec, ...]] = (
    *(
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
    *(count("processor", "attempts", width, "candidate") for width in (15 * MINUTE, HOUR)),
    *(rate("processor", "approved", "results", width, "candidate") for width in (15 * MINUTE, HOUR, DAY)),
    *(rate("processor", "technical", "results", width, "candidate") for width in (15 * MINUTE, HOUR)),
)

RETRY: Final[tuple[FeatureSpec, ...]] = (
    static("number", "wait_seconds", scope="retry"),
    static("hour", "retry_at", scope="retry"),
    static("weekday", "retry_at", scope="retry"),
    static("monthday", "retry_at", scope="retry"),
    static("flag", "same_processor", scope="retry"),
    prior("retry", "card_network", "response_code", scope="retry"),
    prior("retry", "response_code", scope="retry"),
    prior("retry", "advice_code", scope="retry"),
)

CATALOG: Final = (*PAYMENT, *CANDIDATE, *RETRY)

NAMES: Final[tuple[str, ...]] = tuple(spec.name for spec in CATALOG)

POSITION: Final[dict[str, int]] = {name: position for position, name in enumerate(NAMES)}

BY_SCOPE: Final[dict[Scope, tuple[FeatureSpec, ...]]] = {"payment": PAYMENT, "candidate": CANDIDATE, "retry": RETRY}

if len(POSITION) != len(NAMES):
    _msg = f"two features of the catalog share a name: {sorted({name for name in NAMES if NAMES.count(name) > 1})}"
    raise ValueError(_msg)


def fingerprint() -> str:
    """Return 16 hex digits that change with any definition, default, window, order or state layout."""
    lines = [spec.words() for spec in CATALOG] + [f"{kind}:{layout.crc:08x}" for kind, layout in LAYOUTS.items()]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


FINGERPRINT: Final = fingerprint()
