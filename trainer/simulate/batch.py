"""A whole history on disk: chunk after chunk, in any number of processes, with the same result.

A chunk is a time slice that holds an equal share of the payments; its draws are keyed by (seed, chunk), so nothing but the
chunk's number decides what is in it. This module must not know how a payment is drawn.
"""

import json
import multiprocessing
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.terms import FeeLine, FeeSchedule
from trainer.simulate import tables
from trainer.simulate.changes import Stretch
from trainer.simulate.errors import SimulateError
from trainer.simulate.facts import APPROVED, DAY_US
from trainer.simulate.payments import ACQUIRER_FRAUD_BASIS_POINTS, generate
from trainer.simulate.scenarios import stage
from trainer.simulate.shop import run
from trainer.simulate.world import MARGIN_SHARE, World

CHUNK: Final = 131_072
MOST_PAYMENTS: Final = 10**tables.NUMBER_DIGITS
FEES_FILE: Final = "fees.toml"
TERMS_FILE: Final = "terms.toml"
PLAN_FILE: Final = "simulation.json"
_OURS: Final = {"history", "truth", FEES_FILE, TERMS_FILE, PLAN_FILE}
STAGED: Final = 0.2
"""Share of a history, at its end, over which a scenario plays."""
_QUIET_SECONDS: Final = 2.0
_COMPRESSION: Final = "snappy"
_HASHED: Final = ["attempt", "latency_ms", "fraud_score", "device_trust_score", "propensity"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate; two runs with the same plan write the same rows.

    A scenario plays in the last fifth of the days, where the trainer judges what it has learnt from the others.
    """

    payments: int
    days: int
    start: datetime
    seed: int
    merchants: int
    cards: int
    scenario: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What was written, and how fast (wall clock, files included)."""

    payments: int
    attempts: int
    approved: int
    seconds: float


def simulate(plan: Plan, folder: Path, *, workers: int = 1, force: bool = False) -> Summary:
    """Write ``history/``, ``truth/``, ``fees.toml``, ``terms.toml`` and ``simulation.json`` into `folder`.

    Everything goes to a folder beside it first and is renamed at the end: a crash leaves no half-written history.

    Raises
    ------
    SimulateError
        When `folder` holds something and `force` is not given, when it holds something that is not part of a
        simulation, or when it cannot be written.
    """
    began = time.monotonic()
    folder = folder.resolve()
    _refuse_to_overwrite(folder, force)
    parts = max(1, -(-plan.payments // CHUNK))
    with _replacing(folder) as building:
        (building / "history").mkdir()
        (building / "truth").mkdir()
        attempts = approved = 0
        said = began
        for done, counts in enumerate(_counts(plan, parts, building, min(workers, parts)), start=1):
            attempts += counts[0]
            approved += counts[1]
            if time.monotonic() - said > _QUIET_SECONDS:
                said = time.monotonic()
                _progress(plan.payments * done // parts, plan.payments, said - began)
        world = world_of(plan)
        (building / FEES_FILE).write_text(fees_toml(world, plan.days * DAY_US))
        (building / TERMS_FILE).write_text(terms_toml(world))
        (building / PLAN_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(plan)) + b"\n")
    return Summary(plan.payments, attempts, approved, time.monotonic() - began)


def read_plan(folder: Path) -> Plan:
    """Read back the plan of a simulated history.

    Raises
    ------
    SimulateError
        When there is none.
    """
    try:
        return msgspec.json.decode((folder / PLAN_FILE).read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError) as error:
        msg = f"expected a simulated history with a simulation.json in {folder}: {error}"
        raise SimulateError(msg) from error


def world_of(plan: Plan) -> World:
    """Build the world of a plan, with its scenario.

    Raises
    ------
    SimulateError
        When there is no such scenario.
    """
    world = World.build(plan.seed, plan.merchants, plan.cards, plan.days, plan.start)
    if plan.scenario is None:
        return world
    end = plan.days * DAY_US
    return stage(world, plan.scenario, Stretch(int(end * (1.0 - STAGED)), end)).world


def fees(world: World, at_us: int) -> dict[str, FeeSchedule]:
    """Return what the contracts of a world's processors say at a time, microseconds since the start of the world."""
    tariffs = world.processors.tariffs
    tariff = int(tariffs.at(np.array([at_us]))[0])
    schedules = {}
    for k, name in enumerate(world.processors.names):
        fixed, failed = int(tariffs.fixed[tariff, k]), int(tariffs.failed[tariff, k])
        (_, _, share), *special = tariffs.lines(tariff, k)
        schedules[name] = FeeSchedule(
            approved_fixed_minor=fixed,
            approved_share=round(share, 6),
            failed_fixed_minor=failed,
            lines=tuple(
                FeeLine(
                    network=network,
                    region=region,
                    approved_fixed_minor=fixed,
                    approved_share=round(share, 6),
                    failed_fixed_minor=failed,
                )
                for network, region, share in special
            ),
        )
    return schedules


def fees_toml(world: World, at_us: int) -> str:
    """Return the same as TOML, as ``trainer fit --fees`` reads it."""
    lines = ["# Minor units of the payment's currency, and a share of its amount."]
    for name, schedule in fees(world, at_us).items():
        lines += [f"\n[processors.{name}]", *_assignments(schedule)]
        for line in schedule.lines:
            lines += [f"\n[[processors.{name}.lines]]", *_assignments(line)]
    return "\n".join(lines) + "\n"


def terms_toml(world: World) -> str:
    """Return what the shops have agreed, as ``trainer fit --terms`` reads it: their acquirers exempt by risk analysis."""
    lines = ["# The fraud rate by which a merchant's acquirer may exempt payments (EU RTS 2018/389, annex)."]
    for name in world.merchants.name:
        lines += [f"\n[merchants.{json.dumps(name)}]", f"acquirer_fraud_basis_points = {ACQUIRER_FRAUD_BASIS_POINTS}"]
    return "\n".join(lines) + "\n"


def _assignments(fee: FeeSchedule | FeeLine) -> list[str]:
    values = msgspec.to_builtins(fee)
    return [
        f"{name} = {json.dumps(value)}"
        for name, value in values.items()
        if value is not None and name not in ("lines", "three_ds_minor")
    ]


def write_chunk(plan: Plan, chunk: int, parts: int, folder: Path) -> tuple[int, int]:
    """Write one part of history and truth; return how many attempts there were and how many were approved."""
    world = _cached_world(plan)
    first, last = plan.payments * chunk // parts, plan.payments * (chunk + 1) // parts
    edges = world.calendar.split(plan.days * DAY_US, parts)
    payments = generate(world, (1, chunk), last - first, edges[chunk], edges[chunk + 1], first)
    attempts = run(world, payments, MARGIN_SHARE)
    _write(tables.history(world, payments, attempts), folder / "history" / f"part-{chunk:06d}.parquet")
    _write(tables.truth(world, payments, attempts), folder / "truth" / f"part-{chunk:06d}.parquet")
    return len(attempts.row), int((attempts.fate.status == APPROVED).sum())


@lru_cache(maxsize=1)
def _cached_world(plan: Plan) -> World:
    return world_of(plan)


def _counts(plan: Plan, parts: int, folder: Path, workers: int) -> Iterator[tuple[int, int]]:
    if workers <= 1:
        for chunk in range(parts):
            yield write_chunk(plan, chunk, parts, folder)
        return
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=context, initializer=pa.set_cpu_count, initargs=(1,)) as pool:
            numbers = range(parts)
            yield from pool.map(write_chunk, [plan] * parts, numbers, [parts] * parts, [folder] * parts)
    except BrokenProcessPool as error:
        msg = f"a worker process ended early, nothing was written to {folder.parent}: {error}"
        raise SimulateError(msg) from error


def _write(table: pa.Table, path: Path) -> None:
    dictionary = [field.name for field in table.schema if pa.types.is_dictionary(field.type) or field.name in _HASHED]
    pq.write_table(
        table,
        path,
        compression=_COMPRESSION,
        use_dictionary=dictionary,
        write_statistics=["occurred_at"],
        store_schema=False,
        row_group_size=len(table),
    )


def _refuse_to_overwrite(folder: Path, force: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        msg = f"expected --out to be a folder, {folder} is a file"
        raise SimulateError(msg)
    found = {path.name for path in folder.iterdir()}
    if found and not force:
        msg = f"expected --out to be an empty or a new folder, {folder} is not; --force replaces an earlier simulation"
        raise SimulateError(msg)
    if foreign := sorted(found - _OURS):
        msg = f"expected nothing but an earlier simulation in {folder} to replace, found {', '.join(foreign[:5])}"
        raise SimulateError(msg)


@contextmanager
def _replacing(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder` that takes its place when all went well and vanishes when not."""
    building = folder.with_name(f".{folder.name}.building")
    retired = folder.with_name(f".{folder.name}.retired")
    try:
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        yield building
        shutil.rmtree(retired, ignore_errors=True)
        if folder.exists():
            folder.rename(retired)
        building.rename(folder)
        shutil.rmtree(retired, ignore_errors=True)
    except OSError as error:
        msg = f"{folder} cannot be written: {error.strerror or error}"
        raise SimulateError(msg) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _progress(done: int, of: int, seconds: float) -> None:
    sys.stderr.write(f"simulated {done:,} of {of:,} payments, {done / seconds:,.0f}/s\n")
    sys.stderr.flush()
