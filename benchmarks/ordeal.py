"""One fault under load: what is set up, what happens when, and all that was seen of it.

Each fault has a service of its own, with Redis and journal, on one core; the gateway and all servers are on the other. The load
is open: requests are due at fixed moments, and a lost connection is a reason to ask again. This module must not judge.
"""

import asyncio
import gc
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import redis
import uvloop

from benchmarks import kept, processes, watch
from benchmarks.caller import CONNECTIONS, Call, Caller
from benchmarks.fault import Fault
from benchmarks.faults import FAULTS
from benchmarks.material import FOLDER
from benchmarks.promises import is_unpromised
from benchmarks.rig import Rig
from benchmarks.traffic import Traffic
from service.record import attempt_event, outcome_event

WARM_SECONDS: Final = 3.0
BEFORE_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 60.0
_ASKED_SECONDS: Final = 0.05
_ASKED: Final = 200
"""How often the store is asked for what was acknowledged, and for how many updates at once: it has other things to do."""


class Seen:
    """Moments of a run (of `time.perf_counter`), and what was seen meanwhile.

    Attributes
    ----------
    began, wrong_at, well_at, ended
        When the counted part of the load began, when the fault did and ended, and when the load ended.
    written
        Updates written later that the service told of, with when.
    whole_at
        When the store was first seen to have every update that had been acknowledged before the fault's end; None for never.
    """

    def __init__(self) -> None:
        self.began = self.wrong_at = self.well_at = self.ended = time.perf_counter()
        self.written: list[tuple[float, int]] = []
        self.whole_at: float | None = None


class Ordeal:
    """One fault, its service and its load, while they last.

    Parameters
    ----------
    name
        One of `benchmarks.faults.FAULTS`.
    rig
        Where the service lives.
    number
        Makes the payment ids those of this run.
    """

    def __init__(self, name: str, rig: Rig, number: int) -> None:
        self.name = name
        self.rig = rig
        self.fault: Fault = FAULTS[name]()
        self.traffic = Traffic(f"shop_{name}_{number}", f"{chr(97 + number % 26)}x")
        self.seen = Seen()

    def run(self, rate: float, *, warm: float, seconds: float, after: float) -> None:
        """Let it happen under a load of `rate` requests a second."""
        self.fault.prepare(self.rig)
        self.rig.start_service()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._under_load(rate, warm, seconds, after))

    def client(self) -> redis.Redis:
        """Return a connection to the Redis that is the store now."""
        assert self.rig.redis is not None
        return self.rig.redis.client()

    async def _under_load(self, rate: float, warm: float, seconds: float, after: float) -> None:
        rig, fault, traffic, seen = self.rig, self.fault, self.traffic, self.seen
        processes.keep_to(0, rig.client_cores)
        caller = Caller(rig.target, CONNECTIONS, traffic.told)
        await caller.connect()
        # The gateway's own collections of garbage would count as the service's latency.
        gc.collect()
        gc.freeze()
        await caller.drive(traffic.next, rate, warm)
        seen.began = time.perf_counter()
        watching = asyncio.create_task(self._watch())
        driving = asyncio.create_task(caller.drive(traffic.next, rate, 3_600.0))
        await asyncio.sleep(BEFORE_SECONDS)
        traffic.poisoned = fault.poisons
        seen.wrong_at = time.perf_counter()
        await asyncio.to_thread(fault.begin, rig)
        await asyncio.sleep(seconds / 2)
        fault.middle(rig)
        await asyncio.sleep(seconds / 2)
        await asyncio.to_thread(fault.end, rig)
        traffic.poisoned = False
        seen.well_at = time.perf_counter()
        looking = asyncio.create_task(self._look())
        await asyncio.sleep(after)
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
        seen.ended = time.perf_counter()
        await caller.drain()
        await caller.close()
        until = time.perf_counter() + SETTLE_SECONDS
        while await asyncio.to_thread(watch.is_behind, rig) and time.perf_counter() < until:
            await asyncio.sleep(watch.LOOK_SECONDS)
        # What is not there by now is lost; a last look tells.
        await asyncio.sleep(4 * _ASKED_SECONDS)
        for task in (watching, looking):
            task.cancel()
        await asyncio.gather(watching, looking, return_exceptions=True)

    async def _watch(self) -> None:
        """Look at the service's own figures again and again."""
        written = self.seen.written
        while True:
            found = await asyncio.to_thread(watch.told, self.rig)
            count = watch.written_in(found)
            if found and (not written or written[-1][1] != count):
                written.append((time.perf_counter(), count))
            await asyncio.sleep(watch.LOOK_SECONDS)

    async def _look(self) -> None:
        """Ask the store again and again for what was acknowledged during the fault, from its end on."""
        seen, looked = self.seen, 0
        pending: deque[str] = deque()
        seen.whole_at = seen.well_at
        with self.client() as client:
            while True:
                calls = self.traffic.calls
                new = [self._owed(call) for call in calls[looked:] if seen.wrong_at <= call.due < seen.well_at]
                looked = len(calls)
                pending.extend(event for event in new if event is not None)
                missing: list[str] = []
                while pending and not missing:
                    part = [pending.popleft() for _ in range(min(_ASKED, len(pending)))]
                    missing = await asyncio.to_thread(_missing, client, part)
                    if missing:
                        seen.whole_at = None
                pending.extend(missing)
                if not pending and seen.whole_at is None:
                    seen.whole_at = time.perf_counter()
                await asyncio.sleep(_ASKED_SECONDS)

    def _owed(self, call: Call) -> str | None:
        """Return the event that the store is to have of an acknowledgement; None for none."""
        if call.status != 200 or call.answer is None or (self.fault.kills and is_unpromised(call)):
            return None
        if call.kind == "auth":
            return None if call.answer.processor is None else attempt_event(call.name, 1)
        return outcome_event("authorisation", call.name, 1)


def _missing(client: redis.Redis, events: list[str]) -> list[str]:
    """Return those of some events that the store does not have; all of them while it cannot be asked."""
    try:
        return [event for event, there in zip(events, kept.are_marked(client, events), strict=True) if not there]
    except redis.RedisError:
        return events


@contextmanager
def ordeal(name: str, *, number: int = 0, shelf: Path | None = None) -> Iterator[Ordeal]:
    """Lend one, with a folder of its own; a bundle of `shelf`, or the benchmarks' own."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=FOLDER, prefix="chaos-"))).absolute()
        yield Ordeal(name, Rig(folder, stack, shelf), number)
