"""The material of a small world, made once for all tests of the comparison."""

from pathlib import Path

import pytest

from benchmarks.policies.material import Material, opened
from benchmarks.policies.stage import Stage
from tests.benchmarks.policies_parts import made, small


@pytest.fixture(scope="session")
def policies_home(tmp_path_factory: pytest.TempPathFactory, bundle_shelf: Path) -> Path:
    return made(tmp_path_factory.mktemp("policies"), bundle_shelf)


@pytest.fixture(scope="session")
def played_with(policies_home: Path) -> Material:
    return opened(policies_home)


@pytest.fixture(scope="session")
def calm(played_with: Material) -> Stage:
    return small(played_with, "calm")
