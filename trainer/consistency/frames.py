"""What a journal tells, as frames: the canonical history of its events, and the questions with a row per candidate.

This module must not know how a feature is computed.
"""

from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from features.clock import moment
from trainer.consistency.past import Asked, Known
from trainer.history import SCHEMA, TIME

NUMBER: Final = "_number"
APPLIED: Final = "_applied"

_NAMES: Final = ("card_token", "customer_id", "device_id", "merchant_id", "card_bin", "issuer_country", "card_network")
_TIMES: Final = {"attempt": "occurred_at", "result": "settled_at", "chargeback": "chargeback_at"}
_HISTORY: Final = (*_NAMES, "processor", "amount_minor", "status", "response_code", *_TIMES.values())
_ASKED: Final = tuple(name for name in SCHEMA if name not in {"processor", "propensity", "status", *_TIMES.values()})
_DECLINE: Final = {"response_code", "advice_code", "latency_ms"}


def history_of(events: Sequence[Known]) -> pl.DataFrame:
    """Return the events as rows of a canonical history, one event a row: its time stands in its own column alone.

    `NUMBER` is the event's place among `events`, `APPLIED` its time of that name.
    """
    rows = [
        (
            *(getattr(event.payment, name) for name in _NAMES),
            event.processor,
            event.payment.amount_minor,
            event.status,
            event.response_code,
            *(event.at if event.what == what else None for what in _TIMES),
            number,
            event.applied,
        )
        for number, event in enumerate(events)
    ]
    schema: dict[str, Any] = {name: pl.Int64 if name in _TIMES.values() else SCHEMA[name] for name in _HISTORY}
    made = pl.DataFrame(rows, schema={**schema, NUMBER: pl.Int64, APPLIED: pl.Int64}, orient="row")
    return made.with_columns(
        pl.col(name).cast(pl.Datetime("us")).dt.replace_time_zone("UTC") for name in _TIMES.values()
    )


def before(history: pl.LazyFrame, until: int) -> pl.DataFrame:
    """Return what a history knew before `until` (microseconds), in the shape of `history_of`; numbers are null."""
    start = pl.lit(moment(until), dtype=TIME)
    known = history.select(
        *(name for name in _HISTORY if name not in _TIMES.values()),
        *(pl.when(pl.col(name) < start).then(pl.col(name)).alias(name) for name in _TIMES.values()),
    ).filter(pl.any_horizontal(pl.col(name).is_not_null() for name in _TIMES.values()))
    nothing = pl.lit(None, dtype=pl.Int64)
    return (
        known.with_columns(nothing.alias(NUMBER), nothing.alias(APPLIED)).select(*_HISTORY, NUMBER, APPLIED).collect()
    )


def questions(asked: Sequence[Asked]) -> pl.DataFrame:
    """Return a row per question and candidate: `row`, `asked` (place of the question), `candidate`, its fields and times."""
    rows = [
        (
            place,
            candidate,
            processor,
            one.at,
            one.read,
            one.answered,
            one.own,
            *(None if name in _DECLINE else getattr(one.payment, name, None) for name in _ASKED),
        )
        for place, one in enumerate(asked)
        for candidate, processor in enumerate(one.processors or ("",))
    ]
    schema: dict[str, Any] = {
        "asked": pl.Int64,
        "candidate": pl.Int64,
        "processor": pl.String,
        "at": pl.Int64,
        "read": pl.Int64,
        "answered": pl.Int64,
        "own": pl.Int64,
    }
    made = pl.DataFrame(rows, schema={**schema, **{name: SCHEMA[name] for name in _ASKED}}, orient="row")
    return made.with_row_index("row")
