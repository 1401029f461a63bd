"""One small bundle, and variations of it on a shelf of their own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.parts import activate
from trainer.__main__ import main
from trainer.simulate import batch


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated history with its fees."""
    folder = tmp_path_factory.mktemp("whatif") / "simulated"
    start = datetime(2026, 1, 1, tzinfo=UTC)
    batch.simulate(batch.Plan(payments=4_000, days=40, start=start, seed=13, merchants=8, cards=900), folder)
    return folder


@pytest.fixture(scope="session")
def fitted(simulated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shelf with two bundles, learnt from different halves of the history; the first is active."""
    shelf = tmp_path_factory.mktemp("shelf")
    fit = ["fit", "--history", str(simulated / "history"), "--bundles", str(shelf), "--max-rows", "1200"]
    fees = ["--fees", str(simulated / "fees.toml")]
    assert main([*fit, *fees, "--train-until", "2026-01-18"]) == 0
    (first,) = [path.name for path in shelf.iterdir() if path.is_dir()]
    (shelf / first).rename(shelf / "kept")
    assert main([*fit, *fees, "--train-from", "2026-01-20"]) == 0
    (shelf / "kept").rename(shelf / first)
    activate(shelf, first)
    return shelf
