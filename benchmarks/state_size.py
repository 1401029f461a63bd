"""``python -m benchmarks.state_size``: how large online state is, per card and for a million of them.

Backfills a population of cards kind by kind into a redis-server of its own, and asks that how much memory it took. Then it
makes decisions and outcomes, which leave marks and records for a week, and asks again.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import numpy as np
import redis

from benchmarks import processes
from benchmarks.population import DAYS, END, write_history
from benchmarks.results import Machine, machine
from contracts.payment import AuthRequest
from features.clock import DAY, micros
from features.entity import KINDS
from service.ledger import Entry, Limit, attempt_id, key_of
from service.record import TTL_SECONDS, attempt_event, encode, of_payment, outcome_event
from service.store.base import (
    EVENT_TTL_SECONDS,
    Applied,
    Decided,
    Item,
    Kept,
    Reservation,
    by_attempt,
    by_decision,
    by_question,
)
from service.store.bulk import put_many
from service.store.redis import RedisStore
from trainer import history
from trainer.backfill.parts import parts
from trainer.backfill.state import part_states

CARDS: Final = 1_000_000
PAYMENTS: Final = 20_000
"""Payments decided and settled to see what one leaves behind."""
PERSONAL: Final = ("card", "customer", "device", "merchant_card")
"""Kinds of which there are more the more cards there are."""
MARKS_SECONDS: Final = EVENT_TTL_SECONDS
PATIENCE_SECONDS: Final = 300.0
"""To forget a million keys takes a busy machine seconds."""
_AT_ONCE: Final = 64


ANSWER: Final = b"a" * 1500
"""As long as an answer about five candidates is."""
ANSWER_SECONDS: Final = 86_400


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What the states of one kind take: bytes of a blob, and bytes of Redis per key, its own included."""

    kind: str
    keys: int
    mean: float
    p50: float
    p95: float
    p99: float
    largest: int
    redis_bytes: int

    @property
    def per_key(self) -> float:
        """Bytes of Redis per key."""
        return self.redis_bytes / self.keys if self.keys else 0.0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    `payment_bytes` is what the marks, records and ledger of one payment (one decision, one outcome) take in Redis, `answer_bytes`
    what its answer takes for a day.
    """

    machine: Machine
    date: str
    redis: str
    cards: int
    attempts: int
    days: int
    seconds: float
    kinds: list[Size]
    payment_bytes: float
    payment_keys: float
    answer_bytes: float


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 2 when there is nothing to measure with."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.state_size", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("--cards", type=int, default=CARDS, help="cards of the population (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    arguments = parser.parse_args(argv)
    if arguments.cards < 1:
        parser.error(f"expected --cards to be 1 or more, got {arguments.cards}")
    if processes.redis_program() is None:
        print("state_size: expected a redis-server on PATH (Debian: apt-get install redis-server)", file=sys.stderr)
        return 2
    report = measure(arguments.cards)
    print("\n".join(rendered(report)))
    if arguments.json is not None:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    return 0


def measure(cards: int) -> Report:
    """Make a population of so many cards and measure what it leaves in a redis-server."""
    here, started = machine(), time.monotonic()
    with (
        TemporaryDirectory(prefix="pointsman-size-") as scratch,
        processes.Redis() as server,
        redis.Redis.from_url(server.url, socket_timeout=PATIENCE_SECONDS) as client,
    ):
        attempts = write_history(Path(scratch) / "history", cards)
        kinds = list(_kinds(Path(scratch) / "history", server.url, client))
        payment_bytes, payment_keys, answer_bytes = _marks(server.url, client)
        version = client.info("server")["redis_version"]
    return Report(
        machine=here,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
        redis=version,
        cards=cards,
        attempts=attempts,
        days=DAYS,
        seconds=time.monotonic() - started,
        kinds=kinds,
        payment_bytes=payment_bytes,
        payment_keys=payment_keys,
        answer_bytes=answer_bytes,
    )


def _kinds(folder: Path, url: str, client: Any) -> Iterator[Size]:
    """Yield the size of each kind's states, which are gone from the server when the next are written."""
    frame, now = history.scan(folder), micros(END)
    for kind in KINDS:
        lengths: list[int] = []
        before = _used(client)
        for part in parts(frame, (kind,)):
            put_many(url, _measured(part_states(frame, part, now), lengths))
        keys, used = client.dbsize(), _used(client) - before
        sizes = np.array(lengths or [0])
        p50, p95, p99 = (float(value) for value in np.percentile(sizes, (50, 95, 99)))
        yield Size(
            kind=kind,
            keys=keys,
            mean=float(sizes.mean()),
            p50=p50,
            p95=p95,
            p99=p99,
            largest=int(sizes.max()),
            redis_bytes=used,
        )
        client.flushall()


def _measured(items: Iterable[Item], lengths: list[int]) -> Iterator[Item]:
    for item in items:
        lengths.append(len(item[2]))
        yield item


def _used(client: Any) -> int:
    """Return the memory that Redis has allocated, in bytes."""
    used: int = client.info("memory")["used_memory"]
    return used


def _marks(url: str, client: Any) -> tuple[float, float, float]:
    """Return the bytes and keys that one payment leaves beside the states of its entities, and the bytes of its answer."""
    # The first command of each sort loads the script: that is no payment's.
    asyncio.run(_live(url, 1, answered=False))
    found = []
    for answered in (False, True):
        before, there = _settled(client)
        asyncio.run(_live(url, PAYMENTS, answered=answered))
        after, more = _settled(client)
        found.append(((after - before) / PAYMENTS, (more - there) / PAYMENTS))
        client.flushall()
    (payment, keys), (whole, _) = found
    return payment, keys, whole - payment


def _settled(client: Any) -> tuple[int, int]:
    """Return the memory used and the keys there, without those by which a store tries itself out when it is opened."""
    for name in client.scan_iter("*probe*", count=10_000):
        client.delete(name)
    return _used(client), client.dbsize()


async def _live(url: str, payments: int, *, answered: bool) -> None:
    """Decide and settle payments that count for nobody: only marks, records, ledgers, and with `answered` answers stay."""
    store = RedisStore(url, timeout_ms=5_000)
    await store.open()
    at = micros(END)
    for start in range(0, payments, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, payments))
        await asyncio.gather(
            *(
                _one(store, f"{payments:05}{answered:d}_{number:012}", number, at, answered=answered)
                for number in numbers
            )
        )
    await store.close()


async def _one(store: RedisStore, name: str, number: int, at: int, *, answered: bool) -> None:
    payment_id, decision_id = f"pay_{name}", f"d_{name:>24}".replace(" ", "0")
    request = AuthRequest(
        payment_id=payment_id,
        merchant_id=f"shop_{number % 997:012}",
        amount_minor=4990,
        currency="EUR",
        card_token=f"tok_{number:012}",
        customer_id=f"cust_{number:012}",
        device_id=f"dev_{number:012}",
        card_bin="411111",
        card_network="visa",
        issuer_country="DE",
    )
    record = encode(
        of_payment(request, "northpay", at, counted=True, network="visa", decision_id=decision_id, expected=0.9)
    )
    keys = (by_decision(decision_id), by_attempt(payment_id, 1))
    answer = Kept(by_question("auth", payment_id, 1), ANSWER, ANSWER_SECONDS) if answered else None
    reservation = Reservation(
        key_of("visa", "customer", request.merchant_id, request.card_token),
        Entry(at, attempt_id(payment_id, 1), request.amount_minor),
        (Limit(30 * DAY, 20),),
    )
    kept = tuple([Kept(key, record, TTL_SECONDS) for key in keys])
    await store.decided(Decided(attempt_event(payment_id, 1), (), kept, answer, reservation))
    await store.apply_many([Applied(outcome_event("authorisation", payment_id, 1))])


def rendered(report: Report) -> list[str]:
    """Return the figures as lines of text."""
    here = report.machine
    personal = [size for size in report.kinds if size.kind in PERSONAL]
    own = sum(size.redis_bytes for size in personal)
    shared = sum(size.redis_bytes for size in report.kinds) - own
    million = own / report.cards * 1e6 + shared
    week = MARKS_SECONDS / 86_400
    names = ("keys", "a card", "p50", "p95", "p99", "max", "mean", "Redis/key", "Redis MB")
    return [
        f"{report.cards:,} cards, {report.attempts:,} attempts in {report.days} days, measured in {report.seconds:.0f} s on "
        f"{report.date}, Redis {report.redis}",
        f"{here.processor}, {here.cores} cores, {here.system}, {here.python}",
        "",
        f"{'kind':<17}" + "".join(f"{name:>11}" for name in names),
        *(_line(size, report.cards) for size in report.kinds),
        "",
        f"a card, with its customer, devices and shops: {sum(size.keys for size in personal) / report.cards:.2f} keys, "
        f"{own / report.cards:,.0f} bytes of Redis",
        f"a million cards: {million / 1e9:.2f} GB, of which {shared / 1e6:,.1f} MB are shared by all",
        f"answers: {report.answer_bytes:,.0f} bytes a question for a day; "
        f"at one a second {report.answer_bytes * ANSWER_SECONDS / 1e9:.2f} GB",
        f"marks, records and ledgers: {report.payment_bytes:,.0f} bytes and {report.payment_keys:.1f} keys a payment "
        f"for {week:g} days; "
        f"at a payment a second {report.payment_bytes * MARKS_SECONDS / 1e9:.2f} GB",
    ]


def _line(size: Size, cards: int) -> str:
    numbers = (size.keys, size.keys / cards, size.p50, size.p95, size.p99, size.largest, size.mean, size.per_key)
    forms = (",", ".2f", ",.0f", ",.0f", ",.0f", ",", ",.0f", ",.0f")
    cells = [f"{number:>11{form}}" for number, form in zip(numbers, forms, strict=True)]
    return f"{size.kind:<17}{''.join(cells)}{size.redis_bytes / 1e6:>11,.1f}"


if __name__ == "__main__":
    raise SystemExit(main())
