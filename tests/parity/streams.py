"""Streams of attempts that look for trouble: ties, tile edges, skewed clocks, huge amounts, long silence, absent fields."""

import itertools
import random
from collections.abc import Mapping
from typing import Any, Final

import polars as pl
from hypothesis import strategies as st

from contracts.bundle import Encoding
from contracts.payment import Decline, Payment, RetryRequest
from features.catalog import CATALOG
from features.clock import DAY, HOUR, MINUTE, SECOND, moment
from features.decline import CLASSES
from features.encoding import Encodings, category
from features.layout import LAYOUTS
from trainer.history import conform

Row = dict[str, Any]
"""One attempt: the columns of the canonical history with times in microseconds, and `wait_seconds` of a planned retry."""

HOPS: Final = sorted({ring.hop for layout in LAYOUTS.values() for ring in layout.rings})
START: Final = 1_780_000_000 * SECOND // (10 * DAY) * (10 * DAY)
"""On an edge of every hop."""

LONGEST: Final = 100 * DAY
"""More than any window remembers."""

HUGE: Final = 1_000_000_000_000

CODES: Final = (*sorted({code for _, code in CLASSES}), "05", None)

# The first values are what the short streams draw from, so that entities meet.
FIELDS: Final[Mapping[str, tuple[Any, ...]]] = {
    "currency": ("EUR", "JPY", "KWD", "ZZZ"),
    "card_token": ("c1", "c2", None, "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12"),
    "customer_id": ("u1", None, "u2", "u3"),
    "device_id": ("d1", None, "d2", "d3"),
    # Lengths differ, so that a key that joined its fields badly would show: "m" + "1c1", "m1" + "c1".
    "merchant_id": ("m1", "m", "m1c", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "m10"),
    "card_bin": ("411111", "55555555", None),
    "issuer_country": ("DE", "FR", None),
    "processor": ("north", "south", None),
    "card_network": ("visa", "mastercard", None, "amex", "other"),
    "card_funding": ("credit", "debit", None),
    "merchant_segment": ("travel", "retail", None),
    "merchant_country": ("DE", "US", None),
    "ip_country": ("DE", "US", None),
    "channel": ("web", "app", None),
    "initiator": ("customer", "merchant", None),
    "is_network_token": (True, False, None),
    "uses_3ds": (True, False, None),
    "cvv_result": ("M", "N", None),
    "avs_result": ("Y", "N", None),
    "advice_code": ("01", "03", None),
    "status": ("approved", "declined", "error", "timeout"),
    "response_code": CODES,
}
"""Values of the fields with few of them."""

WAITS: Final = (0, 60, 3600, 86_400, 864_000)


def encodings() -> Encodings:
    """Return encodings that know every other category of each prior feature."""
    chance = random.Random(3)
    return {
        spec.name: Encoding(
            default=0.3,
            values={
                category(*values): chance.random()
                for place, values in enumerate(itertools.product(*(FIELDS[name] for name in spec.inputs)))
                if place % 2 == 0
            },
        )
        for spec in CATALOG
        if spec.target is not None
    }


ENCODINGS: Final = encodings()

# From one moment to the next: a tie, a hair, a tile's edge, a window, a silence.
gaps = st.one_of(
    st.integers(0, 3),
    st.integers(0, 2 * MINUTE),
    st.integers(0, 2 * DAY),
    st.builds(
        lambda hop, times, off: max(0, hop * times + off), st.sampled_from(HOPS), st.integers(0, 4), st.integers(-1, 1)
    ),
    st.integers(0, LONGEST),
)
edges = st.builds(
    lambda hop, times, off: hop * times + off, st.sampled_from(HOPS), st.integers(1, 20), st.integers(-1, 1)
)
amounts = st.one_of(st.integers(0, 100_000), st.just(HUGE), st.integers(HUGE - 3, HUGE))


@st.composite
def attempts(draw: st.DrawFn) -> Row:
    """One attempt of few entities; its result and its chargeback may bear an earlier time than the attempt (skewed clocks)."""
    at = START + draw(st.one_of(edges, gaps, st.integers(0, 4 * HOUR), st.integers(0, LONGEST)))
    settled = at + draw(st.one_of(gaps, st.integers(-2 * MINUTE, 0)))
    chargeback = draw(st.one_of(st.none(), gaps, st.integers(-HOUR, 0)))
    return {
        "occurred_at": at,
        "settled_at": settled,
        "chargeback_at": None if chargeback is None else settled + chargeback,
        "amount_minor": draw(amounts),
        "attempt": draw(st.integers(1, 4)),
        "fraud_score": draw(st.one_of(st.none(), st.floats(0, 1))),
        "device_trust_score": draw(st.one_of(st.none(), st.floats(0, 1))),
        "wait_seconds": draw(st.sampled_from(WAITS)),
        **{name: draw(st.sampled_from(values if name in _MANY else values[:3])) for name, values in FIELDS.items()},
    }


_MANY: Final = ("status", "response_code", "card_network", "merchant_id")


def dense(count: int, seed: int, ties: float = 0.0) -> list[Row]:
    """Return a busy stream in order of time: ties, tile edges, and entities that come and go and come again.

    `ties` is the share of attempts, besides, that come at the moment of the one before.
    """
    chance = random.Random(seed)
    steps = [0, 1, 1000, SECOND, *HOPS[:3], 5 * MINUTE - 1, HOUR, DAY, 8 * DAY, 31 * DAY, LONGEST] + [7 * SECOND] * 60
    steps += [20 * SECOND] * 40 + [2 * MINUTE] * 20 + [20 * MINUTE] * 10
    rows = []
    at = START
    for _ in range(count):
        at += 0 if chance.random() < ties else chance.choice(steps)
        settled = at + chance.choice([0, 1, 300_000, SECOND, 3 * HOUR, -SECOND])
        # Declines come in runs, so that some are long.
        failing = at // HOUR % 3 == 0
        rows.append(
            {
                "occurred_at": at,
                "settled_at": settled,
                "chargeback_at": settled + chance.randrange(40 * DAY) if chance.random() < 0.2 else None,
                "amount_minor": chance.choice([chance.randrange(1_000_000), HUGE, 500, 0]),
                "attempt": chance.randrange(1, 5),
                "fraud_score": chance.choice([None, chance.random()]),
                "device_trust_score": chance.choice([None, chance.random()]),
                "wait_seconds": chance.choice(WAITS),
                **{name: chance.choice(values) for name, values in FIELDS.items()},
                **({"status": "declined"} if failing and chance.random() < 0.8 else {}),
            }
        )
    return rows


def history(rows: list[Row]) -> pl.LazyFrame:
    """Return the attempts as a canonical history."""
    times = ("occurred_at", "settled_at", "chargeback_at")
    data = [
        {
            **{name: value for name, value in row.items() if name != "wait_seconds"},
            "payment_id": f"p{number}",
            **{name: None if row[name] is None else moment(row[name]) for name in times},
        }
        for number, row in enumerate(rows)
    ]
    return conform(pl.LazyFrame(data, infer_schema_length=None))


def questions(rows: list[Row]) -> pl.LazyFrame:
    """Return every attempt as a question asked at its own moment, with a planned retry; `row` numbers them."""
    frame = history(rows).collect().with_row_index("row")
    return frame.lazy().with_columns(
        at=pl.col("occurred_at").dt.timestamp("us"),
        wait_seconds=pl.Series([row["wait_seconds"] for row in rows], dtype=pl.Int64),
        retry_at=pl.col("occurred_at").dt.timestamp("us") + pl.Series([row["wait_seconds"] * SECOND for row in rows]),
        # Null for an attempt without a processor, and no processor is not the one that declined.
        same_processor=(pl.col("processor") == DECLINED_BY).fill_null(value=False),
    )


DECLINED_BY: Final = "north"


def request(row: Row, number: int) -> RetryRequest:
    """Return an attempt as the request a gateway would send, but for absent required fields, which no gateway may send."""
    fields = {name: row[name] for name in row if name in Payment.__struct_fields__}
    return RetryRequest(
        **{**fields, "payment_id": f"p{number}", "occurred_at": moment(row["occurred_at"])},
        decline=Decline(processor=DECLINED_BY, response_code=row["response_code"], advice_code=row["advice_code"]),
    )
