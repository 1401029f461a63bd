"""Histories for the backfill, and what living through them event by event leaves of each entity."""

import random
from collections.abc import Iterator
from typing import Any

import polars as pl

from features.clock import DAY, HOUR, MINUTE, SECOND, moment
from features.entity import FIELDS, KINDS, key
from features.increment import (
    Increment,
    attempt_increment,
    chargeback_increment,
    member,
    result_increment,
)
from features.layout import LAYOUTS
from features.state import add
from trainer.history import conform

START = 1_780_000_000 * SECOND
TIMES = ("occurred_at", "settled_at", "chargeback_at")
_GAPS = [0, 1, 1000, MINUTE, 5 * MINUTE - 1, 5 * MINUTE, HOUR, DAY, 8 * DAY, 31 * DAY] + [20 * SECOND] * 30

Row = dict[str, Any]


def dense(count: int, seed: int, cards: int = 8) -> list[Row]:
    """Return a busy stream: ties, tile edges, late results, and entities that come and go."""
    chance = random.Random(seed)
    rows = []
    at = START
    for number in range(count):
        at += chance.choice(_GAPS)
        settled = at + chance.choice([0, 1, 300_000, SECOND, 3 * HOUR, 2 * DAY])
        rows.append(
            {
                "payment_id": f"p{number}",
                "attempt": chance.randrange(1, 4),
                "occurred_at": at,
                "settled_at": settled,
                "chargeback_at": settled + chance.randrange(40 * DAY) if chance.random() < 0.2 else None,
                "amount_minor": chance.choice([chance.randrange(1_000_000), 1_000_000_000_000]),
                "currency": chance.choice(["EUR", "JPY"]),
                "status": chance.choice(["approved", "declined", "declined", "declined", "error", "timeout"]),
                "response_code": chance.choice([None, "05", "51", "14", "54", "65", "91", "82"]),
                "card_network": chance.choice(["visa", "mastercard"]),
                "card_token": chance.choice([None, *(f"c{card}" for card in range(cards))]),
                "customer_id": chance.choice([None, "u1", "u2", "Köln"]),
                "device_id": chance.choice([None, "d1", "d2"]),
                "card_bin": chance.choice([None, "411111", "555555"]),
                "merchant_id": f"m{chance.randrange(12)}",
                "issuer_country": chance.choice(["DE", "FR", None]),
                "processor": chance.choice(["north", "south", None]),
            }
        )
    return rows


def frame(rows: list[Row]) -> pl.LazyFrame:
    """Return the rows as a canonical history."""
    data = [{**row, **{name: None if row[name] is None else moment(row[name]) for name in TIMES}} for row in rows]
    return conform(pl.LazyFrame(data, infer_schema_length=None))


def events(row: Row) -> Iterator[Increment]:
    """Yield what an attempt adds."""
    yield attempt_increment(row["occurred_at"], row["amount_minor"])
    yield result_increment(row["settled_at"], row["status"], row["card_network"], row["response_code"])
    if row["chargeback_at"] is not None:
        yield chargeback_increment(row["chargeback_at"])


def lived(rows: list[Row], now: int) -> dict[tuple[str, str], bytes]:
    """Return the state of every entity after each event before `now`, in the order of the rows."""
    states: dict[tuple[str, str], bytes] = {}
    for row in rows:
        for kind in KINDS:
            named = key(*(row[field] for field in FIELDS[kind]))
            layout = LAYOUTS[kind]
            for increment in events(row):
                if named is not None and increment.at < now and layout.takes(increment.deltas):
                    value = member(row[layout.distinct]) if layout.distinct and increment.is_attempt else None
                    states[kind, named] = add(layout, states.get((kind, named)), increment, value)
    return states
