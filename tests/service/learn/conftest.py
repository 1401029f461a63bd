"""Stories told to a service without HTTP, over the embedded store and over a real Redis."""

import asyncio
from pathlib import Path

import pytest

from tests.parts import Tell, act, activate, add_bundle, eager


@pytest.fixture
def eager_shelf(bundle_shelf: Path, tmp_path: Path) -> Path:
    """A shelf whose policy finds every permitted retry worth making."""
    add_bundle(tmp_path / "shelf", bundle_shelf, "eager", eager)
    activate(tmp_path / "shelf", "eager")
    return tmp_path / "shelf"


@pytest.fixture(params=["memory", "redis"])
def store_url(request: pytest.FixtureRequest) -> str:
    """URL of a store that is empty."""
    return "memory://" if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def tell(store_url: str, eager_shelf: Path, tmp_path: Path) -> Tell:
    """Tell a story over the embedded store and over a real Redis."""
    return lambda story: asyncio.run(act(story, eager_shelf, tmp_path, store_url, timeout_ms=5000.0))


@pytest.fixture(scope="session")
def eager_shelf_for_laws(bundle_shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same shelf, once for all examples of a law."""
    folder = tmp_path_factory.mktemp("eager")
    add_bundle(folder, bundle_shelf, "eager", eager)
    activate(folder, "eager")
    return folder
