"""Live mode: payments sent over HTTP at a fixed rate, answered by the simulated network, compared with two other policies.

The load is open loop: each payment is sent at its scheduled moment whatever the earlier ones do, and its latency counts from
that moment. This module must not know how fates are drawn.
"""

import time
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec
import numpy as np

from trainer.simulate import policies
from trainer.simulate.changes import Stretch
from trainer.simulate.driver import Driver
from trainer.simulate.errors import SimulateError, UnreachableError
from trainer.simulate.facts import DAY_US
from trainer.simulate.gateway import Attempt, Gateway
from trainer.simulate.payments import generate
from trainer.simulate.policies import PolicyResult, Sent
from trainer.simulate.scenarios import stage
from trainer.simulate.world import BEYOND_DAYS, MARGIN_SHARE

if TYPE_CHECKING:
    from trainer.simulate.world import World

FIRST_NUMBER: Final = 2**40
MOST_LIVE: Final = 5_000_000
_PER_DAY: Final = 4_500.0
_LONGEST_DAYS: Final = BEYOND_DAYS / 2
_TIMEOUT_S: Final = 10.0


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Quantiles of auth's latency in milliseconds, from the scheduled moment to the whole answer."""

    p50: float
    p95: float
    p99: float


class LiveReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a live run saw.

    Attributes
    ----------
    payments, requests
        Payments sent and HTTP requests made.
    errors
        How often each kind of failure was met; empty when all went well.
    http_5xx, degraded
        Answers with a status of 500 or more, and decisions that said they were degraded.
    declined_unsent, challenges
        Payments the decision kept back, and payments it asked a challenge for.
    seconds, rate
        Wall clock of the run, and payments a second over the sending.
    latency_ms
        Of auth alone.
    policies
        ``without``, ``pointsman`` and ``oracle`` on the same payments with the same fates.
    """

    payments: int
    requests: int
    errors: dict[str, int]
    http_5xx: int
    degraded: int
    declined_unsent: int
    challenges: int
    seconds: float
    rate: float
    latency_ms: Latency
    policies: dict[str, PolicyResult]


async def drive(
    url: str,
    *,
    world: "World",
    payments: int,
    rate: float,
    per_day: float = _PER_DAY,
    connections: int = 64,
    run: int = 0,
    scenario: str | None = None,
    margin_share: float = MARGIN_SHARE,
) -> LiveReport:
    """Drive `payments` payments at `rate` a second through the service at `url`, then compare the three policies.

    A payment whose decision is ``decline`` is not sent; ``review`` is sent as if a person had released it; a challenge
    loses some payers. Without an answer the gateway goes its own way: the shop's first preference and no retry. A retry
    is sent when simulated time reaches its moment; those after the last payment follow at the end, in order.

    Parameters
    ----------
    url
        Where the service listens, such as ``http://127.0.0.1:8000``.
    world
        The world; the payments follow right after its history.
    payments, rate
        How many, and how many a second.
    per_day
        Simulated payments a day; raised when the run would outlast half of what the world knows beyond its history.
    connections
        At most so many HTTP connections.
    run
        Number of the run: another number gives other payments with other ids.
    scenario
        One of ``scenarios.SCENARIOS`` that plays meanwhile.
    margin_share
        What an approved payment is worth, as a share of its amount.

    Raises
    ------
    UnreachableError
        When nobody answers at `url`.
    SimulateError
        When `payments` or `rate` is out of range, or there is no such scenario.
    """
    if not 1 <= payments <= MOST_LIVE or rate <= 0:
        msg = f"expected 1 to {MOST_LIVE:,} payments at a positive rate, got {payments:,} at {rate:g}/s"
        raise SimulateError(msg)
    days = min(payments / per_day, _LONGEST_DAYS)
    start_us = world.days * DAY_US
    end_us = start_us + max(int(days * DAY_US), 1)
    if scenario is not None:
        world = stage(world, scenario, Stretch(start_us, end_us), run).world
    drawn = generate(world, (2, run), payments, start_us, end_us, FIRST_NUMBER)
    gateway = Gateway(world, drawn, "live" if run == 0 else f"live{run}")
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await _reach(session, url)
        driver = Driver(session, url.rstrip("/"), gateway)
        began = time.monotonic()
        sending = await driver.run(payments, rate)
        seconds = time.monotonic() - began
    served = policies.score(world, drawn, _sent(driver.attempts), margin_share)
    results = {
        "without": policies.score(world, drawn, policies.without(world, drawn), margin_share),
        "pointsman": served,
        "oracle": policies.score(world, drawn, policies.oracle(world, drawn, margin_share), margin_share),
    }
    quantiles = np.quantile(driver.latencies_ms or [0.0], [0.5, 0.95, 0.99])
    return LiveReport(
        payments=payments,
        requests=driver.requests,
        errors=dict(driver.errors),
        http_5xx=driver.http_5xx,
        degraded=driver.degraded,
        declined_unsent=driver.declined_unsent,
        challenges=driver.challenges,
        seconds=round(seconds, 3),
        rate=round(payments / max(sending, 1e-9), 1),
        latency_ms=Latency(p50=float(quantiles[0]), p95=float(quantiles[1]), p99=float(quantiles[2])),
        policies=results,
    )


async def _reach(session: aiohttp.ClientSession, url: str) -> None:
    try:
        async with session.get(url.rstrip("/") + "/health/live") as response:
            await response.read()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        msg = f"expected a service at {url}, nobody answers there: {str(error) or type(error).__name__}"
        raise UnreachableError(msg) from error


def _sent(attempts: list[Attempt]) -> Sent:
    return Sent(
        np.array([attempt.row for attempt in attempts], dtype=np.int64),
        np.array([attempt.number for attempt in attempts], dtype=np.int64),
        np.array([attempt.processor for attempt in attempts], dtype=np.int64),
        np.array([attempt.at_us for attempt in attempts], dtype=np.int64),
        np.array([attempt.approved for attempt in attempts], dtype=bool),
        np.array([attempt.with_3ds for attempt in attempts], dtype=bool),
    )
