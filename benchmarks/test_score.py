"""Rows to probabilities, five rows, each of the four models, beside ONNX Runtime: as the service falls back to it, and alone."""

from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from features.assemble import RETRY_WIDTH
from features.catalog import POSITION
from service.models.active import POINTER
from service.models.bundle import Bundle
from service.models.scorer import Model
from trainer.fit.export import session

MODELS = ("approval", "risk", "routing", "retry")


def _rows(bundle: Bundle, name: str) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Five rows of the whole catalog that hold the model's golden rows, which travel with the bundle."""
    entry = bundle.manifest.models[name]
    rows = np.zeros((5, RETRY_WIDTH), dtype=np.float32)
    rows[:, [POSITION[each] for each in entry.inputs]] = entry.golden_rows[:5]
    return rows


@pytest.mark.parametrize("name", MODELS)
def test_model(benchmark: BenchmarkFixture, bundle: Bundle, name: str) -> None:
    """As the service asks a model."""
    benchmark.group = f"score 5 rows, {name}"
    answers = benchmark(bundle.scorer.probability, name, _rows(bundle, name))
    assert answers == pytest.approx(bundle.manifest.models[name].golden_expected[:5], abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_fallback(benchmark: BenchmarkFixture, bundle: Bundle, shelf: Path, name: str) -> None:
    """As the service asks a model that has no kernel."""
    benchmark.group = f"score 5 rows, {name}"
    entry = bundle.manifest.models[name]
    model = Model(name, entry, (shelf / (shelf / POINTER).read_text().strip() / f"{name}.onnx").read_bytes())
    answers, _ = benchmark(model.score, _rows(bundle, name))
    assert answers == pytest.approx(entry.golden_expected[:5], abs=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime(benchmark: BenchmarkFixture, bundle: Bundle, shelf: Path, name: str) -> None:
    """ONNX Runtime alone."""
    benchmark.group = f"score 5 rows, {name}"
    entry = bundle.manifest.models[name]
    run = session((shelf / (shelf / POINTER).read_text().strip() / f"{name}.onnx").read_bytes()).run
    inputs = {"rows": np.array(entry.golden_rows[:5], dtype=np.float32)}
    assert benchmark(run, ["probability"], inputs)[0].shape == (5,)
