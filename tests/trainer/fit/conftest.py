"""Histories made by hand, and one small simulation that is fitted once."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pytest

from contracts.bundle import Manifest
from trainer import history as canonical
from trainer.__main__ import main
from trainer.fit.dataset import INPUTS, Rows
from trainer.fit.estimators import Floats
from trainer.publish import shelf
from trainer.simulate import batch

START = datetime(2026, 1, 1, tzinfo=UTC)


def made(rows: list[dict[str, Any]]) -> pl.LazyFrame:
    """Return a canonical history of hand-made rows, each filled up with what any payment has."""
    common = {
        "attempt": 1,
        "merchant_id": "m1",
        "amount_minor": 1000,
        "currency": "EUR",
        "card_token": "c1",
        "card_network": "visa",
        "processor": "north",
        "status": "approved",
        "latency_ms": 500,
    }
    names = {name for row in rows for name in row} | set(common)
    filled = [{name: {**common, **row}.get(name) for name in names} for row in rows]
    schema = {name: dtype for name, dtype in canonical.SCHEMA.items() if name in names}
    return canonical.conform(pl.DataFrame(filled, schema=schema).lazy())


def rows_of(features: Floats, labels: np.ndarray, weights: np.ndarray | None = None) -> Rows:
    """Return rows of one payment each."""
    count = len(labels)
    return Rows(
        features=np.ascontiguousarray(features, dtype=np.float32),
        labels=labels.astype(np.bool_),
        weights=np.ones(count) if weights is None else weights,
        frame=pl.DataFrame({"payment_id": [f"p{number}" for number in range(count)]}),
    )


def random_rows(model: str, count: int, seed: int = 0) -> Rows:
    """Return rows such as no history has: absent values, zeros, huge amounts, and a label that follows two of the inputs."""
    chance = np.random.default_rng(seed)
    width = len(INPUTS[model])  # type: ignore[index]
    features = chance.lognormal(1.0, 3.0, (count, width)).astype(np.float32)
    features[chance.random((count, width)) < 0.3] = -1.0
    features[chance.random((count, width)) < 0.1] = 0.0
    features[:: max(1, count // 50), 0] = 1e10
    z = 0.8 * (features[:, 0] > 3) + 1.5 * (features[:, 5] < 0) - 1.5
    return rows_of(features, chance.random(count) < 1 / (1 + np.exp(-z)))


class Made(NamedTuple):
    """A simulated history and the shelf with the bundle fitted from it."""

    history: Path
    fees: Path
    bundles: Path
    manifest: Manifest

    @property
    def folder(self) -> Path:
        return self.bundles / self.manifest.version


def fitted(folder: Path, history: Path, *options: str) -> Manifest:
    """Fit into `folder` and return the manifest of what became active."""
    assert main(["fit", "--history", str(history), "--bundles", str(folder), *options]) == 0
    version = shelf.active(folder)
    assert version is not None
    return shelf.read(folder, version)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a simulated ``history`` and its ``fees.toml``."""
    folder = tmp_path_factory.mktemp("world") / "simulated"
    batch.simulate(batch.Plan(payments=9_000, days=60, start=START, seed=3, merchants=12, cards=1_200), folder)
    return folder


@pytest.fixture(scope="session")
def bundle(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The bundle fitted from `world`."""
    bundles = tmp_path_factory.mktemp("shelf")
    manifest = fitted(bundles, world / "history", "--fees", str(world / "fees.toml"))
    return Made(world / "history", world / "fees.toml", bundles, manifest)
