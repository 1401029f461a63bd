"""A population of cards over ninety days, as a canonical history: how often cards pay is what the size of state hangs on.

Payments of a card: one, and a negative binomial number more (shape 0.5, mean 3), so that half of the cards pay once or
twice, one in a hundred sixteen times or more, and a few all day. Six in ten of them at the card's own shop, the rest spread
over all shops with a heavy tail. A tenth follow the one before within minutes. Seven in ten cards have a customer, who has
1.3 cards; three in four payments name a device, of which a card has one or two. This module must not know what is measured.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import polars as pl

from features.clock import DAY, MINUTE, SECOND, micros

DAYS: Final = 90
END: Final = datetime(2026, 7, 1, tzinfo=UTC)
SHOPS: Final = 20_000
CARDS_A_FILE: Final = 250_000

_SHAPE, _MORE, _MOST = 0.5, 3.0, 2_000
_COUNTRIES: Final = ("DE", "FR", "GB", "US", "ES", "IT", "NL", "PL", "SE", "AT", "CH", "BE", "PT", "CZ", "DK")
_PROCESSORS: Final = ("northpay", "southpay", "eastpay", "westpay", "meridian")
_CODES: Final = ("51", "05", "14", "54", "65", "91", None)

Ints = npt.NDArray[np.int64]


def write_history(folder: Path, cards: int, seed: int = 7) -> int:
    """Write the history of so many cards to `folder` as Parquet; return how many attempts it has."""
    folder.mkdir(parents=True)
    attempts = 0
    for number, first in enumerate(range(0, cards, CARDS_A_FILE)):
        frame = _cards(np.random.default_rng((seed, number)), first, min(CARDS_A_FILE, cards - first))
        frame.write_parquet(folder / f"part-{number:05}.parquet")
        attempts += len(frame)
    return attempts


def _cards(chance: np.random.Generator, first: int, cards: int) -> pl.DataFrame:
    """Return the attempts of `cards` cards, numbered from `first`."""
    per_card = 1 + np.minimum(chance.negative_binomial(_SHAPE, _SHAPE / (_SHAPE + _MORE), cards), _MOST - 1)
    card: Ints = np.repeat(np.arange(first, first + cards), per_card)
    rows = len(card)
    start = micros(END - timedelta(days=DAYS))
    at = start + chance.integers(0, DAYS * DAY, rows)
    follows = (chance.random(rows) < 0.1) & (np.diff(card, prepend=-1) == 0)
    at = np.where(follows, np.roll(at, 1) + chance.integers(5 * SECOND, 10 * MINUTE, rows), at)
    settled = at + chance.integers(200_000, 3 * SECOND, rows)
    approved = chance.random(rows) < 0.87
    shop = np.where(chance.random(rows) < 0.6, card * 7919 % SHOPS, _tail(chance, SHOPS, rows))
    code = chance.choice(len(_CODES), rows, p=(0.35, 0.3, 0.05, 0.05, 0.05, 0.1, 0.1))
    charged = chance.random(rows) < 0.002
    country = card * 31 % 97 % len(_COUNTRIES)
    # 1.3 cards a customer; the device is the first or the second of the card.
    device = card * 2 + (chance.random(rows) < 0.15)
    return pl.DataFrame(
        {
            "payment_id": _named("pay_", np.arange(rows) + first * _MOST),
            "attempt": np.ones(rows, dtype=np.int64),
            "occurred_at": _times(at),
            "settled_at": _times(settled),
            "chargeback_at": _times(settled + 20 * DAY, charged),
            "merchant_id": _named("shop_", shop),
            "amount_minor": np.exp(chance.normal(8.2, 1.1, rows)).astype(np.int64) + 50,
            "currency": pl.repeat("EUR", rows, eager=True),
            "status": pl.Series(np.where(approved, "approved", "declined")),
            "response_code": pl.Series([*_CODES])[np.where(approved, len(_CODES) - 1, code)],
            "card_token": _named("tok_", card),
            "customer_id": _named("cust_", card * 10 // 13, card * 10 // 13 % 10 < 7),
            "device_id": _named("dev_", device, chance.random(rows) < 0.75),
            "card_bin": (400_000 + card * 13 % 2_000).astype(str),
            "card_network": pl.Series(np.where(card % 5 < 3, "visa", "mastercard")),
            "issuer_country": pl.Series([*_COUNTRIES])[country],
            "processor": pl.Series([*_PROCESSORS])[chance.integers(0, len(_PROCESSORS), rows)],
        }
    )


def _tail(chance: np.random.Generator, most: int, rows: int) -> Ints:
    """Return numbers below `most`, the small ones far more often (density as 1 / (n + 1))."""
    numbers: Ints = (np.exp(chance.random(rows) * np.log(most)) - 1).astype(np.int64)
    return numbers


def _named(prefix: str, numbers: Ints, there: npt.NDArray[np.bool_] | None = None) -> pl.Series:
    """Return identifiers of a usual length, null where they are not there."""
    text = pl.select(pl.lit(prefix) + pl.Series(numbers).cast(pl.String).str.zfill(12)).to_series()
    return text if there is None else _where(text, there)


def _times(at: Ints, there: npt.NDArray[np.bool_] | None = None) -> pl.Series:
    times = pl.Series(at, dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return times if there is None else _where(times, there)


def _where(values: pl.Series, there: npt.NDArray[np.bool_]) -> pl.Series:
    found: Any = pl.select(pl.when(pl.Series(there)).then(values)).to_series()
    return found  # type: ignore[no-any-return]
