"""Live mode: payments sent over HTTP at a fixed rate, answered by the simulated network, compared with two other policies.

The load is open loop: each payment is sent at its scheduled moment whatever the earlier ones do, and its latency counts from
that moment. This module must not know how fates are drawn.
"""

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, TypeVar

import aiohttp
import msgspec
import numpy as np

from contracts.decision import Decision, RetryDecision
from trainer.simulate import policies
from trainer.simulate.errors import SimulateError, UnreachableError
from trainer.simulate.facts import DAY_US, PROCESSORS
from trainer.simulate.gateway import Attempt, Gateway
from trainer.simulate.payments import generate
from trainer.simulate.policies import MOST_RETRIES, PolicyResult, Sent
from trainer.simulate.world import BEYOND_DAYS, MARGIN_SHARE

if TYPE_CHECKING:
    from trainer.simulate.world import World

T = TypeVar("T")
FIRST_NUMBER: Final = 2**40
MOST_LIVE: Final = 5_000_000
_PER_DAY: Final = 4_500.0
_LONGEST_DAYS: Final = BEYOND_DAYS / 2
_BACKLOG: Final = 20_000
_TIMEOUT_S: Final = 10.0
_GRACE_S: Final = 20.0
_JSON: Final = {"Content-Type": "application/json"}


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
    margin_share: float = MARGIN_SHARE,
) -> LiveReport:
    """Drive `payments` payments at `rate` a second through the service at `url`, then compare the three policies.

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
    margin_share
        What an approved payment is worth, as a share of its amount.

    Raises
    ------
    UnreachableError
        When nobody answers at `url`.
    SimulateError
        When `payments` or `rate` is out of range.
    """
    if not 1 <= payments <= MOST_LIVE or rate <= 0:
        msg = f"expected 1 to {MOST_LIVE:,} payments at a positive rate, got {payments:,} at {rate:g}/s"
        raise SimulateError(msg)
    days = min(payments / per_day, _LONGEST_DAYS)
    start_us = world.days * DAY_US
    drawn = generate(world, (2, run), payments, start_us, start_us + max(int(days * DAY_US), 1), FIRST_NUMBER)
    gateway = Gateway(world, drawn, "live" if run == 0 else f"live{run}")
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        await _reach(session, url)
        driver = _Driver(session, url.rstrip("/"), gateway)
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


class _RefusedError(Exception):
    """A request that got no usable answer; its kind is already counted."""


class _Driver:
    """One run: the schedule, the conversations, and what was seen."""

    def __init__(self, session: aiohttp.ClientSession, url: str, gateway: Gateway) -> None:
        self._session = session
        self._url = url + "/api/decisioning/"
        self._gateway = gateway
        self._encode = msgspec.json.Encoder().encode
        self._decision = msgspec.json.Decoder(Decision)
        self._retry_decision = msgspec.json.Decoder(RetryDecision)
        self._anything = msgspec.json.Decoder(dict[str, Any])
        self.attempts: list[Attempt] = []
        self.latencies_ms: list[float] = []
        self.errors: Counter[str] = Counter()
        self.requests = self.http_5xx = self.degraded = self.declined_unsent = self.challenges = 0

    async def run(self, payments: int, rate: float) -> float:
        """Send every payment at its moment; return the seconds from the first moment to the last sending."""
        tasks: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        for row in range(payments):
            moment = began + row / rate
            delay = moment - time.monotonic()
            if delay > 0 or row % 32 == 0:
                await asyncio.sleep(max(delay, 0.0))
            if len(tasks) >= _BACKLOG:
                self.errors["dropped: backlog"] += 1
                continue
            task = asyncio.create_task(self._converse(row, moment))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        sending = time.monotonic() - began
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=_GRACE_S)
            for task in unfinished:
                task.cancel()
            self.errors.update({"unfinished": len(unfinished)} if unfinished else {})
            await asyncio.gather(*unfinished, return_exceptions=True)
        return max(sending, payments / rate)

    async def _converse(self, row: int, moment: float) -> None:
        gateway = self._gateway
        processor, challenge, decision_id = gateway.first_preference(row), False, None
        try:
            decision = await self._post("auth", gateway.auth_request(row), self._decision)
        except _RefusedError:
            pass  # a gateway without an answer goes its own way
        else:
            self.latencies_ms.append((time.monotonic() - moment) * 1000.0)
            self.degraded += bool(decision.degraded)
            decision_id = decision.decision_id
            if decision.action == "decline":
                self.declined_unsent += 1
                return
            challenge = decision.action == "challenge" or decision.three_ds == "challenge"
            processor = self._known(decision.processor) or processor
        if challenge:
            self.challenges += 1
            if gateway.leaves_challenge(row):
                return
        attempts = [gateway.send(row, processor, challenge=challenge)]
        self.attempts.append(attempts[0])
        try:
            await self._follow(attempts, decision_id)
        except _RefusedError:
            return

    async def _follow(self, attempts: list[Attempt], decision_id: str | None) -> None:
        """Report the outcome; while it is a failure worth another try, try again."""
        gateway = self._gateway
        await self._report(attempts[-1], decision_id)
        while not attempts[-1].approved and len(attempts) <= MOST_RETRIES:
            answer = await self._post("retry", gateway.retry_request(attempts), self._retry_decision)
            self.degraded += bool(answer.degraded)
            if not answer.should_retry:
                return
            processor = self._known(answer.processor) or PROCESSORS[attempts[-1].processor]
            authenticate = answer.verdict == "authenticate"
            again = gateway.send_again(attempts[-1], processor, answer.wait_seconds or 0.0, authenticate=authenticate)
            attempts.append(again)
            self.attempts.append(again)
            await self._report(again, answer.decision_id)

    async def _report(self, attempt: Attempt, decision_id: str | None) -> None:
        try:
            await self._post("outcomes", self._gateway.outcome(attempt, decision_id), self._anything)
        except _RefusedError:
            return

    async def _post(self, what: str, message: msgspec.Struct, decoder: msgspec.json.Decoder[T]) -> T:
        self.requests += 1
        try:
            async with self._session.post(self._url + what, data=self._encode(message), headers=_JSON) as response:
                body = await response.read()
                status = response.status
        except TimeoutError:
            self.errors[f"{what}: timeout"] += 1
            raise _RefusedError from None
        except aiohttp.ClientError as error:
            self.errors[f"{what}: {type(error).__name__}"] += 1
            raise _RefusedError from None
        if status >= 400:
            self.http_5xx += status >= 500
            self.errors[f"{what}: HTTP {status}"] += 1
            raise _RefusedError
        try:
            return decoder.decode(body)
        except msgspec.MsgspecError:
            self.errors[f"{what}: unexpected answer"] += 1
            raise _RefusedError from None

    def _known(self, processor: str | None) -> str | None:
        if processor is not None and processor not in PROCESSORS:
            self.errors["unknown processor"] += 1
            return None
        return processor


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
        np.array([attempt.approved for attempt in attempts], dtype=bool),
        np.array([attempt.with_3ds for attempt in attempts], dtype=bool),
    )
