"""Where the data that no one here wrote lies, when it is at hand."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
MAPPINGS = Path(__file__).resolve().parents[2] / "docs" / "mappings"


def data(name: str) -> Path:
    """Return a shared file, or skip the test saying what is absent."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the shared data folder beside the checkout has no {name}")
    return path
