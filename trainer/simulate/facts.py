"""The constants of the simulated world: names, categories, decline causes with their codes, and how causes recover.

The response codes follow the network facts in the project's documentation: the key is (network, code), and only
Mastercard sends an advice code. This module must not know any single world: nothing here is random.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MINUTE_US: Final = 60_000_000
HOUR_US: Final = 60 * MINUTE_US
DAY_US: Final = 24 * HOUR_US
BIN_US: Final = 10 * MINUTE_US
BINS_A_DAY: Final = 144

PROCESSORS: Final = ("northpay", "atlas", "meridian", "cobalt", "harbor")
FEES: Final[dict[str, tuple[int, float, int]]] = {
    "northpay": (12, 0.0125, 4),
    "atlas": (10, 0.0135, 3),
    "meridian": (15, 0.0120, 5),
    "cobalt": (8, 0.0140, 2),
    "harbor": (11, 0.0130, 6),
}
"""Fixed minor units when approved, share when approved, fixed minor units when not; tariffs.py says what is added to it."""

NETWORKS: Final = ("visa", "mastercard", "amex", "discover")
VISA, MASTERCARD, AMEX, DISCOVER = range(4)
FUNDINGS: Final = ("credit", "debit", "prepaid")
CHANNELS: Final = ("web", "app", "recurring")
INITIATORS: Final = ("customer", "merchant")
STATUSES: Final = ("approved", "declined", "error", "timeout")
APPROVED, DECLINED, ERROR, TIMEOUT = range(4)
CVV_RESULTS: Final = ("M", "N", "P")
AVS_RESULTS: Final = ("Y", "A", "Z", "N", "U")

SHOP_COUNTRIES: Final = ("GB", "DE", "FR", "ES", "IT", "NL", "PL", "SE", "IE", "PT", "US")
COUNTRIES: Final = (*SHOP_COUNTRIES, "BR", "IN", "MX", "TR", "AE", "CA", "NG", "JP")
SHOP_COUNTRY_WEIGHT: Final = np.array([0.22, 0.19, 0.15, 0.11, 0.09, 0.07, 0.05, 0.03, 0.02, 0.02, 0.05])
CARD_COUNTRY_WEIGHT: Final = np.array([0.2, 0.17, 0.14, 0.1, 0.08, 0.06, 0.05, 0.03, 0.02, 0.02, 0.06, *[0.00875] * 8])
UTC_OFFSET_HOURS: Final = np.array([0, 1, 1, 1, 1, 1, 1, 1, 0, 0, -5], dtype=np.int64)
"""Standard-time offsets of the shops' countries: the simulated world has no daylight saving."""
CURRENCIES: Final = ("GBP", "EUR", "PLN", "SEK", "USD")
CURRENCY_OF: Final = np.array([0, 1, 1, 1, 1, 1, 2, 3, 1, 1, 4], dtype=np.int8)
CURRENCY_SCALE: Final = np.array([0.85, 1.0, 4.3, 11.0, 1.1], dtype=np.float32)
SCA_COUNTRY: Final = np.array([c not in {"US", "BR", "IN", "MX", "TR", "AE", "CA", "NG", "JP"} for c in COUNTRIES])

SEGMENTS: Final = ("retail", "digital", "travel", "gaming", "subscription", "food", "marketplace")
SEGMENT_WEIGHT: Final = np.array([0.28, 0.14, 0.08, 0.1, 0.14, 0.14, 0.12])
SEGMENT_AMOUNT: Final = np.array([55.0, 18.0, 210.0, 14.0, 15.0, 28.0, 48.0])
SEGMENT_MERCHANT_INITIATED: Final = np.array([0.02, 0.18, 0.02, 0.08, 0.75, 0.02, 0.04])
SEGMENT_ABROAD: Final = np.array([0.03, 0.045, 0.085, 0.05, 0.03, 0.01, 0.04])
SEGMENT_FRAUD: Final = np.array([0.0016, 0.004, 0.003, 0.005, 0.001, 0.0006, 0.0025])
SEGMENT_EFFECT: Final = np.array([0.0, 0.1, 0.05, 0.25, 0.2, -0.25, 0.05])

CAUSES: Final = (
    "none",
    "funds",
    "limit",
    "honor",
    "suspicion",
    "lost",
    "closed",
    "expired",
    "data",
    "authentication",
    "unavailable",
    "refused",
    "technical",
    "timeout",
)
NONE, FUNDS, LIMIT, HONOR, SUSPICION, LOST, CLOSED, EXPIRED, DATA, AUTHENTICATION, UNAVAILABLE = range(11)
REFUSED, TECHNICAL, TIMED_OUT = range(11, 14)
FIRST_PROCESSOR_CAUSE: Final = REFUSED
"""Causes from here on lie with the processor; those before it lie with the issuer or the customer."""
HARD: Final = np.isin(np.arange(len(CAUSES)), (LOST, CLOSED))

_Choice = tuple[str | None, str | None, float]
_GENERIC: Final[dict[int, tuple[_Choice, ...]]] = {
    NONE: (("00", None, 1.0),),
    FUNDS: (("51", None, 1.0),),
    LIMIT: (("61", None, 0.6), ("65", None, 0.4)),
    HONOR: (("05", None, 0.85), ("01", None, 0.08), ("62", None, 0.07)),
    SUSPICION: (("59", None, 0.6), ("05", None, 0.4)),
    LOST: (("41", None, 0.4), ("43", None, 0.4), ("04", None, 0.2)),
    CLOSED: (("14", None, 0.7), ("46", None, 0.3)),
    EXPIRED: (("54", None, 1.0),),
    DATA: (("N7", None, 0.6), ("82", None, 0.4)),
    AUTHENTICATION: (("1A", None, 1.0),),
    UNAVAILABLE: (("91", None, 0.85), ("96", None, 0.15)),
    REFUSED: (("05", None, 0.4), ("58", None, 0.2), ("03", None, 0.15), ("62", None, 0.15), ("93", None, 0.1)),
    TECHNICAL: (("91", None, 0.4), ("96", None, 0.3), ("06", None, 0.1), (None, None, 0.2)),
    TIMED_OUT: ((None, None, 1.0),),
}
_MASTERCARD: Final[dict[int, tuple[_Choice, ...]]] = {
    FUNDS: (("51", "02", 0.35), ("51", "24", 0.1), ("51", "25", 0.2), ("51", "26", 0.1), ("51", None, 0.25)),
    LIMIT: (("61", "02", 0.4), ("61", "25", 0.4), ("61", None, 0.2)),
    HONOR: (("05", "02", 0.35), ("05", None, 0.4), ("79", "02", 0.15), ("82", "02", 0.1)),
    SUSPICION: (("83", "03", 0.4), ("83", "01", 0.25), ("63", "03", 0.2), ("59", None, 0.15)),
    LOST: (("41", "03", 0.5), ("43", "03", 0.5)),
    CLOSED: (("14", "03", 0.5), ("79", "03", 0.3), ("05", "21", 0.2)),
    EXPIRED: (("54", "01", 0.8), ("79", "01", 0.2)),
    DATA: (("83", "01", 0.3), ("05", None, 0.7)),
    AUTHENTICATION: (("65", None, 1.0),),
}
CODE_SLOTS: Final = 64
CAUSE_SLOTS: Final = 128


def slots(weights: Array, count: int) -> Array:
    """Return `count` indices in which index i appears in proportion to ``weights[i]``, for choice by one lookup."""
    edges = np.cumsum(weights) / np.sum(weights)
    chosen = np.searchsorted(edges, (np.arange(count) + 0.5) / count)
    return np.minimum(chosen, len(weights) - 1)


def _codes() -> tuple[tuple[str, ...], tuple[str, ...], Array, Array]:
    tables = [_GENERIC, _GENERIC | _MASTERCARD, _GENERIC, _GENERIC]
    chosen = [choice for table in tables for choices in table.values() for choice in choices]
    codes = tuple(sorted({code for code, _, _ in chosen if code}))
    advice = tuple(sorted({mac for _, mac, _ in chosen if mac}))
    code_of = np.empty((len(CAUSES), len(NETWORKS), CODE_SLOTS), dtype=np.int8)
    advice_of = np.empty_like(code_of)
    for network, table in enumerate(tables):
        for cause, choices in table.items():
            pick = slots(np.array([weight for _, _, weight in choices]), CODE_SLOTS)
            code_of[cause, network] = np.array([codes.index(c) if c else -1 for c, _, _ in choices])[pick]
            advice_of[cause, network] = np.array([advice.index(a) if a else -1 for _, a, _ in choices])[pick]
    return codes, advice, code_of, advice_of


RESPONSE_CODES, ADVICE_CODES, CODE_OF, ADVICE_OF = _codes()

# What an issuer's other declines are made of, by context: bit 0 merchant initiated, 1 SCA would apply, 2 fraud, 3 abroad.
_OTHER: Final = (HONOR, SUSPICION, LOST, CLOSED, EXPIRED, DATA, AUTHENTICATION)


def _other_causes() -> Array:
    table = np.empty((16, CAUSE_SLOTS), dtype=np.int8)
    for context in range(16):
        weight = np.array([0.55, 0.09, 0.03, 0.03, 0.03, 0.12, 0.0])
        if context & 1:
            weight[[3, 4, 5]] = (0.08, 0.06, 0.01)
        if context & 2:
            weight[6] = 0.06
        if context & 4:
            weight[[1, 2, 5]] = (0.5, 0.3, 0.2)
        if context & 8:
            weight[[0, 1]] *= (1.3, 2.5)
        table[context] = np.array(_OTHER)[slots(weight, CAUSE_SLOTS)]
    return table


OTHER_CAUSES: Final = _other_causes()

WAIT_KNOTS: Final = np.log1p(np.array([0, 300, 3_600, 21_600, 86_400, 259_200, 604_800], dtype=np.float64))
"""log(1 + wait in seconds) at 0, 5 min, 1 h, 6 h, 1 day, 3 days and 7 days."""
RECOVERY: Final = np.array(
    [
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
        [0.014, 0.017, 0.035, 0.085, 0.14, 0.16, 0.165],
        [0.015, 0.020, 0.05, 0.14, 0.30, 0.33, 0.35],
        [0.022, 0.027, 0.04, 0.08, 0.10, 0.11, 0.11],
        [0.004, 0.005, 0.01, 0.02, 0.025, 0.03, 0.03],
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [0.001, 0.001, 0.001, 0.001, 0.002, 0.003, 0.004],
        [0.010, 0.020, 0.025, 0.03, 0.04, 0.05, 0.07],
        [0.050, 0.060, 0.05, 0.05, 0.05, 0.05, 0.05],
        [0.020, 0.020, 0.02, 0.03, 0.03, 0.03, 0.03],
        [0.040, 0.050, 0.15, 0.45, 0.60, 0.60, 0.60],
        [0.58, 0.58, 0.58, 0.58, 0.57, 0.55, 0.54],
        [0.58, 0.58, 0.58, 0.58, 0.58, 0.58, 0.56],
        [0.58, 0.58, 0.58, 0.58, 0.58, 0.58, 0.56],
    ]
)
"""How likely the issuer says yes to the next attempt, by cause of the decline before (row) and wait (knot)."""
PERSISTENCE: Final = np.array(
    [
        *[[0.0] * 7] * FIRST_PROCESSOR_CAUSE,
        [0.97, 0.97, 0.95, 0.92, 0.90, 0.88, 0.86],
        [0.92, 0.86, 0.70, 0.55, 0.42, 0.38, 0.35],
        [0.92, 0.86, 0.70, 0.55, 0.42, 0.38, 0.35],
    ]
)
"""Share of a processor's refusal that the next attempt meets again, by cause and wait."""
FADE: Final = np.array([1.0, 1.0, 1.0, 1.0, 0.9, 0.8, 0.7])
"""Each further attempt is worth less: the factor by attempt number (0 and 1 unused)."""
