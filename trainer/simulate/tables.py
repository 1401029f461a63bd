"""Arrow tables of a batch: the history as a shop would log it, and the truth that no trainer may read.

Identifiers are built as bytes and categories as dictionaries, so no string is made one by one. This module must not know
where a table is written.
"""

from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from contracts.history import COLUMNS, ColumnKind
from trainer.simulate import facts
from trainer.simulate.facts import Array
from trainer.simulate.payments import Payments
from trainer.simulate.shop import Attempts

if TYPE_CHECKING:
    from trainer.simulate.world import World

_ARROW: Final[dict[ColumnKind, pa.DataType]] = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
}
TIME: Final = _ARROW["time"]
NUMBER_DIGITS: Final = 9


def history(world: "World", payments: Payments, attempts: Attempts) -> pa.Table:
    """Return the canonical history of a batch: the columns of ``contracts.history``, sorted by `occurred_at`."""
    row, fate = attempts.row, attempts.fate
    shops, cards, holders = world.merchants, world.cards, world.holders
    device = payments.device[row]
    merchant, card = payments.merchant[row], payments.card[row]
    country = payments.country[row]
    start = world.calendar.start_us
    initiated = payments.merchant_initiated[row]
    columns = {
        "payment_id": payment_ids(world.seed, payments.number[row]),
        "attempt": pa.array(attempts.attempt),
        "occurred_at": times(attempts.at_us + start),
        "merchant_id": chosen(merchant, shops.name),
        "merchant_segment": chosen(shops.segment[merchant], facts.SEGMENTS),
        "merchant_country": chosen(country, facts.SHOP_COUNTRIES),
        "amount_minor": pa.array(payments.amount[row]),
        "currency": chosen(facts.CURRENCY_OF[country], facts.CURRENCIES),
        "card_token": fixed(cards.token[card]),
        "customer_id": fixed(holders.customer_id[payments.customer[row]]),
        "card_bin": chosen(cards.bin_at(card, payments.at_us[row]), cards.bins),
        "card_network": chosen(payments.network[row], facts.NETWORKS),
        "card_funding": chosen(cards.funding[card], facts.FUNDINGS),
        "issuer_country": chosen(cards.country[card], facts.COUNTRIES),
        "is_network_token": pa.array(payments.token[row]),
        "uses_3ds": pa.array(attempts.with_3ds),
        "initiator": chosen(initiated, facts.INITIATORS),
        "channel": chosen(payments.channel[row], facts.CHANNELS),
        "fraud_score": shares(payments.fraud_score[row]),
        "device_id": fixed(holders.device_id[device], absent=device < 0),
        "device_trust_score": shares(payments.trust[row]),
        "ip_country": chosen(payments.ip_country[row], facts.COUNTRIES, absent=True),
        "cvv_result": chosen(payments.cvv[row], facts.CVV_RESULTS, absent=True),
        "avs_result": chosen(payments.avs[row], facts.AVS_RESULTS, absent=True),
        "processor": chosen(attempts.processor, world.processors.names),
        "status": chosen(fate.status, facts.STATUSES),
        "response_code": chosen(fate.code, facts.RESPONSE_CODES, absent=True),
        "advice_code": chosen(fate.advice, facts.ADVICE_CODES, absent=True),
        "latency_ms": pa.array(fate.latency_ms),
        "settled_at": times(fate.settled_us + start),
        "chargeback_at": times(fate.chargeback_us + start, absent=fate.chargeback_us < 0),
        "propensity": pa.array(attempts.propensity),
    }
    return pa.table([columns[name] for name in COLUMNS], names=list(COLUMNS))


def truth(world: "World", payments: Payments, attempts: Attempts) -> pa.Table:
    """Return the truth of a batch, row by row beside `history`: each processor's probability, the cause, the fraud."""
    row = attempts.row
    columns: dict[str, pa.Array] = {
        "payment_id": payment_ids(world.seed, payments.number[row]),
        "attempt": pa.array(attempts.attempt),
    }
    for k, name in enumerate(world.processors.names):
        columns[f"p_{name}"] = pa.array(np.ascontiguousarray(attempts.approval[:, k]))
    columns["cause"] = chosen(attempts.fate.cause, facts.CAUSES)
    columns["is_fraud"] = pa.array(payments.is_fraud[row])
    columns["best_processor"] = chosen(attempts.best, world.processors.names)
    return pa.table(columns)


def payment_ids(seed: int, numbers: Array, prefix: str = "p") -> pa.Array:
    """Return ids such as ``p-7-000000123``; never more than nine digits in a row.

    Parameters
    ----------
    seed
        The world's seed.
    numbers
        Payment numbers of 0 to 999,999,999, shape (n,).
    prefix
        What stands before the seed.
    """
    head = np.frombuffer(f"{prefix}-{seed}-".encode(), dtype=np.uint8)
    text = np.empty((len(numbers), len(head) + NUMBER_DIGITS), dtype=np.uint8)
    text[:, : len(head)] = head
    rest = numbers.astype(np.uint32)
    for column in range(NUMBER_DIGITS - 1, -1, -1):
        tens = rest // np.uint32(10)
        text[:, len(head) + column] = rest - tens * np.uint32(10) + np.uint32(48)
        rest = tens
    return fixed(text)


def fixed(text: Array, absent: Array | None = None) -> pa.Array:
    """Return an Arrow string array over rows of bytes, shape (n, width), null where `absent`, without touching a string."""
    count, width = text.shape
    offsets = np.arange(0, (count + 1) * width, width, dtype=np.int32)
    known = None if absent is None else pa.py_buffer(np.packbits(~absent, bitorder="little"))
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text)), known)


def chosen(codes: Array, values: tuple[str, ...], *, absent: bool = False) -> pa.Array:
    """Return a dictionary array of `values` by code; with `absent`, negative codes are null."""
    indices = codes.view(np.int8) if codes.dtype == np.bool_ else codes.astype(np.int32, copy=False)
    mask = codes < 0 if absent else None
    return pa.DictionaryArray.from_arrays(pa.array(indices, mask=mask), pa.array(values, type=pa.string()))


def shares(values: Array) -> pa.Array:
    """Return a float64 array in which NaN is null."""
    wide = np.rint(values.astype(np.float64) * 1000.0) / 1000.0
    return pa.array(wide, mask=np.isnan(wide))


def times(at_us: Array, absent: Array | None = None) -> pa.Array:
    """Return UTC timestamps in microseconds, null where `absent`."""
    return pa.array(at_us, type=pa.int64(), mask=absent).cast(TIME)
