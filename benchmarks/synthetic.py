"""Histories of any size for measuring with, drawn column by column with NumPy: millions of attempts a second.

The distributions of keys are those of a card shop's payments: many cards with few attempts, a few merchants with most of
them. Nothing in them can be learnt, and no model is judged on them. This module must not know what is measured.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from features.clock import DAY, SECOND, micros

DAYS: Final = 120
START: Final = micros(datetime(2026, 1, 1, tzinfo=UTC))
CHUNK: Final = 1_000_000

Ints = npt.NDArray[np.int64]

_CODES: Final = "DEFRESITNLBEATPTPLCZSEDKFINOIEGBCHUSCAMXBRARCLCOPEJPKRCNHKSGINAUNZZANGKEEGTRAEIL"
_COUNTRIES: Final = tuple(_CODES[place : place + 2] for place in range(0, len(_CODES), 2))
_NETWORKS: Final = ("visa", "mastercard", "amex", "discover")
_PROCESSORS: Final = ("north", "south", "east", "west", "upper", "lower")
_REFUSALS: Final = ("05", "51", "54", "14", "91", "65", "41", "1A")


class Shape(NamedTuple):
    """How many of each there are; `hot` is the share of the attempts that one merchant has on top of its own."""

    cards: int
    merchants: int = 2_000
    bins: int = 3_000
    hot: float = 0.0


def write(folder: Path, rows: int, *, hot: float = 0.0, seed: int = 11, days: int = DAYS) -> None:
    """Write a canonical history of `rows` attempts over `days` days, one file for each `CHUNK` of them, in order of time."""
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, rows, CHUNK)):
        frame = attempts(rows, hot=hot, seed=seed, chunk=number, days=days)
        frame.write_parquet(folder / f"history-{first // CHUNK:05}.parquet", compression="lz4")


def attempts(rows: int, *, hot: float = 0.0, seed: int = 11, chunk: int = 0, days: int = DAYS) -> pl.DataFrame:
    """Return one chunk of a canonical history of `rows` attempts."""
    shape = Shape(cards=max(rows // 8, 1), hot=hot)
    first = chunk * CHUNK
    size = min(CHUNK, rows - first)
    begin, end = (START + days * DAY * place // rows for place in (first, first + size))
    return _chunk(np.random.default_rng([seed, chunk]), shape, first, size, begin, end)


def _zipf(draw: np.random.Generator, of: int, size: int) -> Ints:
    """Return ranks from 0, the k-th with a probability of 1 / (k + 1) over the sum of all (Zipf's law, exponent 1)."""
    bounds = np.cumsum(1.0 / np.arange(1, of + 1))
    ranks: Ints = np.searchsorted(bounds, draw.random(size) * bounds[-1]).astype(np.int64)
    return ranks


def _text(prefix: str, numbers: Ints, digits: int) -> pl.Expr:
    return pl.concat_str(pl.lit(prefix), pl.lit(pl.Series(numbers)).cast(pl.String).str.zfill(digits))


def _one_of(words: tuple[str, ...] | list[str], numbers: Ints) -> pl.Series:
    return pl.Series(words)[numbers]


def _chunk(draw: np.random.Generator, shape: Shape, first: int, size: int, begin: int, end: int) -> pl.DataFrame:
    at = np.sort(draw.integers(begin, end, size))
    # Half of the cards are rarely seen, a tenth of them often: the square of a uniform number.
    card = (draw.random(size) ** 2 * shape.cards).astype(np.int64)
    merchant = np.where(draw.random(size) < shape.hot, 0, _zipf(draw, shape.merchants, size))
    # A card keeps its BIN, a BIN its country and network, whatever it buys.
    bank = _zipf(np.random.default_rng(5), shape.bins, shape.cards)[card]
    country, network = bank * 7 % len(_COUNTRIES), bank * 13 % len(_NETWORKS)
    latency = draw.gamma(4.0, 200.0, size).astype(np.int64) + 50
    fate = draw.random(size)
    status = np.select([fate < 0.82, fate < 0.97, fate < 0.99], [0, 1, 2], 3)
    charged_back = (status == 0) & (draw.random(size) < 0.02)
    late = at + draw.integers(7 * DAY, 60 * DAY, size)
    refusal = draw.integers(0, len(_REFUSALS), size)
    numbers = np.arange(first, first + size)
    frame = pl.DataFrame(
        {
            "attempt": 1 + (draw.random(size) < 0.08).astype(np.int64),
            "occurred_at": at,
            "amount_minor": np.maximum(draw.lognormal(8.2, 1.1, size).astype(np.int64), 100),
            "card_network": _one_of(_NETWORKS, network),
            "card_funding": _one_of(("credit", "debit", "prepaid"), bank % 3),
            "issuer_country": _one_of(_COUNTRIES, country),
            "merchant_country": _one_of(_COUNTRIES, merchant % 5),
            "merchant_segment": _one_of(("retail", "travel", "digital", "food"), merchant % 4),
            "currency": _one_of(("EUR", "USD", "JPY"), merchant % 3),
            "is_network_token": draw.random(size) < 0.3,
            "uses_3ds": draw.random(size) < 0.2,
            "initiator": _one_of(("customer", "merchant"), (draw.random(size) < 0.15).astype(np.int64)),
            "channel": _one_of(("web", "app", "recurring"), draw.integers(0, 3, size)),
            "fraud_score": draw.beta(1.0, 9.0, size),
            "device_trust_score": draw.beta(6.0, 2.0, size),
            "ip_country": _one_of(_COUNTRIES, np.where(draw.random(size) < 0.9, country, 17)),
            "cvv_result": _one_of(("M", "N", "U"), draw.integers(0, 3, size)),
            "avs_result": _one_of(("Y", "N", "U"), draw.integers(0, 3, size)),
            "processor": _one_of(_PROCESSORS, np.minimum(draw.geometric(0.3, size) - 1, 5)),
            "status": _one_of(("approved", "declined", "error", "timeout"), status),
            "latency_ms": latency,
        }
    )
    return frame.with_columns(
        pl.col("occurred_at").cast(pl.Datetime("us", "UTC")),
        _text("pay_", numbers, 11).alias("payment_id"),
        _text("mrc_", merchant, 5).alias("merchant_id"),
        _text("tok_", card, 10).alias("card_token"),
        _text("cus_", card * 3 // 4, 10).alias("customer_id"),
        _text("dev_", card * 2 // 3, 10).alias("device_id"),
        _text("4", bank, 5).alias("card_bin"),
        settled_at=pl.lit(pl.Series(at + latency * (SECOND // 1000))).cast(pl.Datetime("us", "UTC")),
        response_code=pl.when(pl.col("status") == "declined").then(pl.lit(_one_of(_REFUSALS, refusal))),
        chargeback_at=pl.when(pl.lit(pl.Series(charged_back)))
        .then(pl.lit(pl.Series(late)))
        .cast(pl.Datetime("us", "UTC")),
    )
