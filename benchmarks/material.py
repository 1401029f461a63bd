"""What is measured with: a bundle, a world of payments, and the state their history left. All of it simulated.

The bundle is made once and kept in ``var/benchmarks/``, under the fingerprint of the features it was made for and beside the
digest of the code that made it: made by other code it would load and lack what this code puts into one, and be cheaper to ask.
This module must not know what is measured.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import msgspec

from benchmarks import recipe
from contracts.payment import AuthRequest, RetryRequest
from features.catalog import FINGERPRINT
from features.clock import micros
from service.errors import BundleRefused
from service.models.active import POINTER
from service.models.bundle import load
from service.policy import defaults
from service.policy.rules import Rules
from service.store.base import Item
from trainer import history
from trainer.backfill.state import states
from trainer.fit.fitting import FitOptions, fit
from trainer.simulate import batch
from trainer.simulate.facts import DAY_US, PROCESSORS
from trainer.simulate.gateway import Gateway
from trainer.simulate.payments import generate

FOLDER: Final = Path("var/benchmarks")
DAYS: Final = 60
_SEED: Final = 7
_FIRST_NUMBER: Final = 2**40
_PAYMENTS: Final = 60_000
_MAX_ROWS: Final = 6_000
_MADE_BY: Final = "made_by"


class Workload(NamedTuple):
    """Payments as a gateway would ask about them today, each with all five processors as candidates."""

    auths: tuple[AuthRequest, ...]
    retries: tuple[RetryRequest, ...]


def make_shelf(folder: Path, *, payments: int, max_rows: int) -> Path:
    """Simulate, fit and activate one bundle; return its shelf, ``folder/shelf``. The history stays beside it."""
    plan = _plan(payments, datetime(2026, 6, 1, tzinfo=UTC))
    batch.simulate(plan, folder / "simulated")
    shelf = folder / "shelf"
    source = folder / "simulated"
    fit(
        FitOptions(
            history=source / "history",
            bundles=shelf,
            fees=source / batch.FEES_FILE,
            terms=source / batch.TERMS_FILE,
            max_rows=max_rows,
        )
    )
    return shelf


def kept_shelf() -> Path:
    """Return the benchmarks' own shelf, made when there is none that this code made and can load (half a minute)."""
    home, maker = FOLDER / FINGERPRINT, made_by()
    if not is_kept(home, maker):
        FOLDER.mkdir(parents=True, exist_ok=True)
        print(f"making a bundle to measure with in {home}", flush=True)
        with TemporaryDirectory(dir=FOLDER) as scratch:
            make_shelf(Path(scratch), payments=_PAYMENTS, max_rows=_MAX_ROWS)
            shutil.rmtree(Path(scratch) / "simulated")
            (Path(scratch) / _MADE_BY).write_text(maker)
            shutil.rmtree(home, ignore_errors=True)
            shutil.copytree(scratch, home)
    return home / "shelf"


def made_by() -> str:
    """Return what a kept bundle is made by: the size of its history, and the digest of the code that simulates and fits."""
    code = recipe.digest(
        ("trainer.fit.fitting", "trainer.simulate.batch"), Path(defaults.__file__).with_suffix(".toml")
    )
    return f"{_PAYMENTS} payments, {_MAX_ROWS} rows, code {code}"


def is_kept(home: Path, maker: str) -> bool:
    """Tell whether a shelf in `home` was made by `maker` and can be loaded by this code."""
    try:
        return (home / _MADE_BY).read_text() == maker and _usable(home / "shelf")
    except OSError:
        return False


def _usable(shelf: Path) -> bool:
    try:
        load(shelf / (shelf / POINTER).read_text().strip(), Rules.load())
    except (OSError, BundleRefused):
        return False
    return True


@cache
def workload(payments: int = 2_000) -> Workload:
    """Return requests of the simulated world, without times: they happen when they are asked."""
    plan = _present()
    world = batch.world_of(plan)
    start_us = plan.days * DAY_US
    gateway = Gateway(world, generate(world, (2, 0), payments, start_us, start_us + DAY_US, _FIRST_NUMBER), "bench")
    auths = []
    retries = []
    for row in range(len(gateway)):
        auths.append(msgspec.structs.replace(gateway.auth_request(row), occurred_at=None, processors=PROCESSORS))
        attempt = gateway.send(row, gateway.first_preference(row))
        if not attempt.approved:
            asked = gateway.retry_request([attempt])
            decline = msgspec.structs.replace(asked.decline, declined_at=None)
            retries.append(msgspec.structs.replace(asked, occurred_at=None, processors=PROCESSORS, decline=decline))
    return Workload(tuple(auths), tuple(retries))


def warm_states() -> Iterator[Item]:
    """Yield the state of every entity of the world as of now, as its history until today would have left it."""
    with TemporaryDirectory() as scratch:
        batch.simulate(_present(), Path(scratch) / "simulated")
        yield from states(history.scan(Path(scratch) / "simulated" / "history"), micros(datetime.now(UTC)))


def _present() -> batch.Plan:
    """The world, shifted so that its history ends with the last midnight."""
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return _plan(_PAYMENTS, midnight - timedelta(days=DAYS))


def _plan(payments: int, start: datetime) -> batch.Plan:
    return batch.Plan(payments=payments, days=DAYS, start=start, seed=_SEED, merchants=40, cards=6_000)
