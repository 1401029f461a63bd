"""What the benchmark is played with: a history, the bundle fitted on it, and what the history left behind.

Made once and kept in ``var/policies/``, under a fingerprint of all that decides about it. This module must not know a policy.
"""

import hashlib
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec
import polars as pl
import pyarrow.parquet as pq

from benchmarks.policies.pointsman import States
from benchmarks.policies.stage import begins_us
from benchmarks.policies.tail import Tail, tail
from features.catalog import FINGERPRINT
from service.errors import BundleRefused
from service.models.active import POINTER
from service.models.bundle import Bundle, load
from service.policy.policy import Policy
from service.policy.rules import Rules
from trainer import history as canonical
from trainer.backfill.state import states
from trainer.fit.fitting import FitOptions, fit
from trainer.simulate import batch, tables
from trainer.simulate.facts import DAY_US
from trainer.simulate.payments import generate
from trainer.simulate.policies import CHARGEBACK_FEE_MINOR
from trainer.simulate.shop import run
from trainer.simulate.world import MARGIN_SHARE, World

FOLDER: Final = Path("var/policies")
PLAN: Final = batch.Plan(
    payments=160_000, days=120, start=datetime(2026, 6, 1, tzinfo=UTC), seed=7, merchants=80, cards=60_000
)
MAX_ROWS: Final = 8_000
_LEFT: Final = "left.msgpack"
_REMEMBERED_DAYS: Final = 20
"""Fraudsters change their devices after ten days; who was seen longer ago does not come back."""


class Left(msgspec.Struct, frozen=True, array_like=True):
    """What the history left: its plan, packed states, what baselines learn from, and fraudsters that were seen."""

    plan: batch.Plan
    states: list[tuple[str, str, bytes]]
    segments: list[tuple[tuple[str, str, str], tuple[int, int]]]
    networks: list[tuple[tuple[str, str], tuple[int, int]]]
    latest: list[tuple[tuple[str, str], tuple[bool, ...]]]
    strangers: list[int]


class Material(NamedTuple):
    """Everything one process plays with."""

    world: World
    bundle: Bundle
    rules: Rules
    states: States
    tail: Tail
    strangers: frozenset[int]


def kept(folder: Path = FOLDER, plan: batch.Plan = PLAN, max_rows: int = MAX_ROWS) -> tuple[Path, float]:
    """Return where the material is, made if it is not there, and how many seconds that took (0: it was there)."""
    home = folder / _key(plan, max_rows)
    if _usable(home):
        return home, 0.0
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as scratch:
        _make(Path(scratch), plan, max_rows)
        shutil.rmtree(home, ignore_errors=True)
        Path(scratch).rename(home)
        Path(scratch).mkdir()
    return home, time.monotonic() - began


def opened(home: Path) -> Material:
    """Read the material back; the bundle decides with the margin of the simulated shops."""
    rules = Rules.load()
    left = msgspec.msgpack.decode((home / _LEFT).read_bytes(), type=Left)
    shelf = home / "shelf"
    bundle = load(shelf / (shelf / POINTER).read_text().strip(), rules)
    parameters = msgspec.structs.replace(
        bundle.manifest.policy, margin_share=MARGIN_SHARE, chargeback_fee_minor=CHARGEBACK_FEE_MINOR
    )
    world = batch.world_of(left.plan)
    manifest = msgspec.structs.replace(bundle.manifest, policy=parameters)
    return Material(
        world,
        bundle._replace(manifest=manifest, policy=Policy.compile(manifest, rules)),
        rules,
        {(kind, key): blob for kind, key, blob in left.states},
        Tail(dict(left.segments), dict(left.networks), dict(left.latest)),
        frozenset(left.strangers),
    )


def _key(plan: batch.Plan, max_rows: int) -> str:
    """Return a name that changes with the features, the simulator, the trainer and what is asked of them."""
    told = hashlib.blake2b(msgspec.json.encode([plan, max_rows, FINGERPRINT]), digest_size=8)
    root = Path(__file__).parents[2]
    for room in ("trainer/simulate", "trainer/fit", "trainer/backfill", "contracts"):
        for path in sorted((root / room).glob("*.py")):
            told.update(path.read_bytes())
    return told.hexdigest()


def _usable(home: Path) -> bool:
    try:
        opened(home)
    except (OSError, BundleRefused, msgspec.MsgspecError):
        return False
    return True


def _make(folder: Path, plan: batch.Plan, max_rows: int) -> None:
    simulated = folder / "simulated"
    batch.simulate(plan, simulated)
    world = batch.world_of(plan)
    end_us = begins_us(world)
    _morning(world, plan, end_us, simulated / "history")
    shelf = folder / "shelf"
    source = simulated / "history"
    fit(
        FitOptions(
            history=source,
            bundles=shelf,
            fees=simulated / batch.FEES_FILE,
            terms=simulated / batch.TERMS_FILE,
            max_rows=max_rows,
        )
    )
    history = canonical.scan(source)
    now = world.calendar.start_us + end_us
    learnt = tail(history)
    left = Left(
        plan=plan,
        states=list(states(canonical.load(source), now)),
        segments=list(learnt.segments.items()),
        networks=list(learnt.networks.items()),
        latest=list(learnt.latest.items()),
        strangers=_strangers(world, history, now),
    )
    (folder / _LEFT).write_bytes(msgspec.msgpack.encode(left))
    shutil.rmtree(simulated)


def _morning(world: World, plan: batch.Plan, end_us: int, history: Path) -> None:
    """Write the hours between the last whole day of the history and the beginning of the stages."""
    begin_us = world.days * DAY_US
    count = round(plan.payments / plan.days * (end_us - begin_us) / DAY_US)
    payments = generate(world, (1, 999_999), count, begin_us, end_us, plan.payments)
    table = tables.history(world, payments, run(world, payments, MARGIN_SHARE))
    pq.write_table(table, history / "part-999999.parquet", store_schema=False)


def _strangers(world: World, history: pl.LazyFrame, now: int) -> list[int]:
    """Return the numbers of the fraudsters whose device or account the last weeks of a history show."""
    since = datetime.fromtimestamp(now / 1e6, UTC) - timedelta(days=_REMEMBERED_DAYS)
    late = history.filter(pl.col("occurred_at") >= since)
    holders = world.holders
    found: set[int] = set()
    for column, names, own in (
        ("device_id", holders.device_id, holders.device.size),
        ("customer_id", holders.customer_id, len(holders.device)),
    ):
        number = {name: place for place, name in enumerate(tables.fixed(names[own:]).to_pylist())}
        seen = late.select(pl.col(column).drop_nulls().unique()).collect().to_series()
        found.update(number[name] for name in seen if name in number)
    return sorted(found)
