"""The open loop over HTTP: a conversation for each payment, started at its scheduled moment whatever the others do.

This module must not know policies or how fates are drawn.
"""

import asyncio
import heapq
import sys
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from contracts.decision import Decision, RetryDecision
from trainer.simulate.gateway import Attempt, Gateway
from trainer.simulate.policies import MOST_RETRIES

T = TypeVar("T")
_BACKLOG: Final = 20_000
_GRACE_S: Final = 20.0
_RETRIES_AT_ONCE: Final = 32
_END_OF_TIME: Final = 2**62
_SAY_EVERY_S: Final = 10.0
_JSON: Final = {"Content-Type": "application/json"}


class _RefusedError(Exception):
    """A request that got no usable answer; its kind is already counted."""


class Driver:
    """One run: the schedule, the conversations, and what was seen.

    Attributes
    ----------
    attempts
        Every attempt that was sent.
    latencies_ms
        Of auth, from the scheduled moment to the whole answer.
    errors
        How often each kind of failure was met.
    requests, http_5xx, degraded, declined_unsent, challenges
        Counts, as in ``LiveReport``.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, gateway: Gateway) -> None:
        self._session = session
        self._url = url + "/api/decisioning/"
        self._gateway = gateway
        self._encode = msgspec.json.Encoder().encode
        self._decision = msgspec.json.Decoder(Decision)
        self._retry_decision = msgspec.json.Decoder(RetryDecision)
        self._anything = msgspec.json.Decoder(dict[str, Any])
        # Retries planned for later, by their simulated moment: state must not hear of the future before the present.
        self._planned: list[tuple[int, int, list[Attempt], Attempt, str]] = []
        self.attempts: list[Attempt] = []
        self.latencies_ms: list[float] = []
        self.errors: Counter[str] = Counter()
        self.requests = self.http_5xx = self.degraded = self.declined_unsent = self.challenges = 0

    async def run(self, payments: int, rate: float) -> float:
        """Send every payment at its moment; return the seconds from the first moment to the last sending."""
        tasks: set[asyncio.Task[None]] = set()

        def start(conversation: Coroutine[Any, Any, None]) -> None:
            task = asyncio.create_task(conversation)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        began = said = time.monotonic()
        for row in range(payments):
            moment = began + row / rate
            delay = moment - time.monotonic()
            if delay > 0 or row % 32 == 0:
                await asyncio.sleep(max(delay, 0.0))
            if time.monotonic() - said > _SAY_EVERY_S:
                said = time.monotonic()
                sys.stderr.write(f"sent {row:,} of {payments:,} payments, {len(tasks):,} under way\n")
            if len(tasks) >= _BACKLOG:
                self.errors["dropped: backlog"] += 1
                continue
            for retry in self._due(int(self._gateway.payments.at_us[row])):
                start(retry)
            start(self._converse(row, moment))
        sending = time.monotonic() - began
        if tasks:
            _, unfinished = await asyncio.wait(tasks, timeout=_GRACE_S)
            for task in unfinished:
                task.cancel()
            self.errors.update({"unfinished": len(unfinished)} if unfinished else {})
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._finish()
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

    def _due(self, at_us: int, most: int | None = None) -> list[Coroutine[Any, Any, None]]:
        """Take the retries planned for before `at_us` (simulated) off the plan, earliest first."""
        due: list[Coroutine[Any, Any, None]] = []
        while self._planned and self._planned[0][0] <= at_us and (most is None or len(due) < most):
            _, _, attempts, again, decision_id = heapq.heappop(self._planned)
            due.append(self._retry(attempts, again, decision_id))
        return due

    async def _finish(self) -> None:
        """Carry out the retries planned for after the last payment, in the order of their moments."""
        until = time.monotonic() + _GRACE_S
        while self._planned and time.monotonic() < until:
            await asyncio.gather(*self._due(_END_OF_TIME, _RETRIES_AT_ONCE))
        if self._planned:
            self.errors["unfinished"] += len(self._planned)

    async def _retry(self, attempts: list[Attempt], again: Attempt, decision_id: str) -> None:
        attempts.append(again)
        self.attempts.append(again)
        try:
            await self._follow(attempts, decision_id)
        except _RefusedError:
            return

    async def _follow(self, attempts: list[Attempt], decision_id: str | None) -> None:
        """Report the outcome; when it is a failure worth another try, plan that try."""
        gateway = self._gateway
        await self._report(attempts[-1], decision_id)
        if attempts[-1].approved or len(attempts) > MOST_RETRIES:
            return
        answer = await self._post("retry", gateway.retry_request(attempts), self._retry_decision)
        self.degraded += bool(answer.degraded)
        if not answer.should_retry:
            return
        processor = self._known(answer.processor) or gateway.names[attempts[-1].processor]
        authenticate = answer.verdict == "authenticate"
        again = gateway.send_again(attempts[-1], processor, answer.wait_seconds or 0.0, authenticate=authenticate)
        heapq.heappush(self._planned, (again.at_us, again.row, attempts, again, answer.decision_id))

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
        if processor is not None and processor not in self._gateway.names:
            self.errors["unknown processor"] += 1
            return None
        return processor
