"""``python -m benchmarks.kill --times 200``: the service is killed at random moments under load, again and again.

Every time it is started anew on the same journal and the same Redis, and whoever had a request under way asks again. Before
every third kill Redis is frozen for a moment, so that the process dies with updates that the store does not have. At the end
everything that was acknowledged is looked for: in the journal, and in the store once. What was not kept is printed, and
written to ``var/kill-losses.json``, with all that is known of it. Exit code 1 when something is lost or counted twice.
"""

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import uvloop

from benchmarks import kept, processes, promises
from benchmarks.caller import CONNECTIONS, Caller
from benchmarks.material import FOLDER
from benchmarks.ordeal import SETTLE_SECONDS
from benchmarks.promises import Loss
from benchmarks.results import Machine, machine
from benchmarks.rig import Rig
from benchmarks.traffic import Traffic
from benchmarks.watch import is_behind, written_later

MOST_TIMES: Final = 10_000
LOSSES: Final = Path("var/kill-losses.json")
_LIVES: Final = (0.15, 1.0)
"""Seconds that a process lives under load, the least and the most."""
_FROZEN_EVERY: Final = 3
_FROZEN_SECONDS: Final = 0.15


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it.

    Attributes
    ----------
    kills, frozen
        How often the service was killed, and how often while Redis was frozen.
    answers, receipts
        Acknowledged: answers to questions, and receipts for outcomes.
    asked_again
        Requests that were under way when the service was killed.
    server_errors, unanswered
        Answers of 5xx, and requests without an answer.
    losses
        What was acknowledged and is not to be found.
    doubled
        Updates that were counted more than once.
    unpromised, gone
        Answers and receipts that said themselves, when they were given, that neither the journal nor the store had them, and
        those of them that are missing indeed.
    written_later
        Updates that a process had not made and the next one did, as far as the last process tells.
    ready_s
        From start to ready, the middle and the longest.
    """

    at: str
    machine: Machine
    seed: int
    rate: float
    kills: int
    frozen: int
    answers: int
    receipts: int
    asked_again: int
    server_errors: int
    unanswered: int
    losses: tuple[Loss, ...]
    doubled: int
    unpromised: int
    gone: int
    written_later: int
    ready_s: tuple[float, float]


def run(times: int, rate: float, seed: int, shelf: Path | None = None) -> Report:
    """Kill the service so many times, with a bundle of `shelf` or the benchmarks' own; return what was kept."""
    host = machine()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=FOLDER, prefix="kill-"))).absolute()
        rig = Rig(folder, stack, shelf)
        redis = rig.start_redis()
        traffic = Traffic("shop_kill", "kx")
        rig.start_service()
        began = time.perf_counter()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            ready, later, kills = runner.run(_killed(rig, traffic, times, rate, random.Random(seed)))
        journal = kept.journalled(kept.events(rig.journal))
        with redis.client() as client:
            store = kept.counted(client, traffic.shop, traffic.payments)
            held = promises.kept(traffic.calls, journal, store, dies=True, began=began)
            on_record = kept.on_record(rig.journal, {loss.payment for loss in held.losses}) if held.losses else {}
            losses = [
                msgspec.structs.replace(
                    loss,
                    journalled=tuple(on_record[loss.payment]),
                    stored=tuple(kept.in_store(client, loss.payment, loss.decision)),
                    context=_context(loss, [at - began for at in kills]),
                )
                for loss in held.losses
            ]
    ready.sort()
    answered = [call for call in traffic.calls if call.status == 200]
    return Report(
        at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        machine=host,
        seed=seed,
        rate=rate,
        kills=times,
        frozen=times // _FROZEN_EVERY,
        answers=sum(call.kind == "auth" for call in answered),
        receipts=sum(call.kind == "outcome" for call in answered),
        asked_again=sum(call.tries > 1 for call in traffic.calls),
        server_errors=sum(call.status >= 500 for call in traffic.calls),
        unanswered=sum(call.status == 0 for call in traffic.calls),
        losses=tuple(losses),
        doubled=held.doubled,
        unpromised=held.unpromised,
        gone=held.gone,
        written_later=later,
        ready_s=(ready[len(ready) // 2], ready[-1]),
    )


def _context(loss: Loss, kills: Sequence[float]) -> str:
    """Return between which kills something was acknowledged."""
    before = [number for number, at in enumerate(kills, 1) if at <= loss.done_s]
    after = [number for number, at in enumerate(kills, 1) if at > loss.done_s]
    said = [f"{loss.done_s - kills[before[-1] - 1]:.3f} s after kill {before[-1]}"] if before else []
    if after:
        frozen = ", with Redis frozen" if after[0] % _FROZEN_EVERY == 0 else ""
        said.append(f"{kills[after[0] - 1] - loss.done_s:.3f} s before kill {after[0]}{frozen}")
    return "; ".join(said)


async def _killed(
    rig: Rig, traffic: Traffic, times: int, rate: float, draw: random.Random
) -> tuple[list[float], int, list[float]]:
    """Return how long the service took to be ready each time, what it wrote later, and the moments of the kills."""
    processes.keep_to(0, rig.client_cores)
    caller = Caller(rig.target, CONNECTIONS, traffic.told)
    await caller.connect()
    ready: list[float] = []
    kills: list[float] = []
    later = 0
    assert rig.redis is not None
    for number in range(1, times + 1):
        driving = asyncio.create_task(caller.drive(traffic.next, rate, 60.0))
        await asyncio.sleep(draw.uniform(*_LIVES))
        later += await asyncio.to_thread(written_later, rig)
        frozen = number % _FROZEN_EVERY == 0
        if frozen:
            rig.redis.pause()
            await asyncio.sleep(_FROZEN_SECONDS)
        await asyncio.to_thread(rig.kill_service)
        kills.append(time.perf_counter())
        if frozen:
            rig.redis.resume()
        driving.cancel()
        await asyncio.gather(driving, return_exceptions=True)
        began = time.perf_counter()
        await asyncio.to_thread(rig.start_service)
        ready.append(time.perf_counter() - began)
        if number % 20 == 0:
            print(f"killed {number} times", file=sys.stderr, flush=True)
    await caller.drain()
    await caller.close()
    until = time.perf_counter() + SETTLE_SECONDS
    while await asyncio.to_thread(is_behind, rig) and time.perf_counter() < until:
        await asyncio.sleep(0.2)
    return ready, later + await asyncio.to_thread(written_later, rig), kills


def rendered(report: Report) -> str:
    """Return a report as a Markdown table to read."""
    host = report.machine
    rows = [
        ("killed (SIGKILL) under load", f"{report.kills:,} times, {report.frozen:,} of them with Redis frozen"),
        ("load", f"{report.rate:g}/s"),
        ("acknowledged answers", f"{report.answers:,}"),
        ("acknowledged outcomes", f"{report.receipts:,}"),
        ("asked again, for the connection was lost", f"{report.asked_again:,}"),
        ("answers of 5xx", f"{report.server_errors:,}"),
        ("never answered", f"{report.unanswered:,}"),
        ("acknowledged and lost", f"{len(report.losses):,}"),
        ("applied twice", f"{report.doubled:,}"),
        (
            "said themselves to be in neither journal nor store yet",
            f"{report.unpromised:,}, {report.gone:,} of them missing",
        ),
        ("missed by a process and written by the next", f"{report.written_later:,} at least"),
        ("ready again after, s", f"{report.ready_s[0]:.2f} (middle), {report.ready_s[1]:.2f} (longest)"),
    ]
    head = f"{report.at}, {host.processor}, {host.cores} cores, {host.python}, seed {report.seed}"
    lines = [head, "", "| | |", "|---|--:|", *[f"| {name} | {value} |" for name, value in rows]]
    lines += [f"\nlost: {msgspec.json.encode(loss).decode()}" for loss in report.losses]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kill",
        description="Kill the service at random moments under load; count what is kept.",
    )
    parser.add_argument("--times", type=int, default=200, help="how often (default 200)")
    parser.add_argument("--rate", type=float, default=300.0, help="requests a second (default 300)")
    parser.add_argument("--seed", type=int, default=7, help="of the moments (default 7)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON too")
    options = parser.parse_args(argv)
    if not 1 <= options.times <= MOST_TIMES:
        parser.error(f"expected --times to be 1 to {MOST_TIMES}, got {options.times}")
    report = run(options.times, options.rate, options.seed)
    print(rendered(report))
    if report.losses:
        LOSSES.parent.mkdir(parents=True, exist_ok=True)
        LOSSES.write_bytes(msgspec.json.format(msgspec.json.encode(report.losses)) + b"\n")
    if options.json is not None:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 1 if report.losses or report.doubled or report.server_errors or report.unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
