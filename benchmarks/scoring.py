"""``python -m benchmarks.scoring``: one run of a model, by ONNX Runtime and by its kernel, in turns.

Both are asked about the same rows, one after the other, and who is first changes. Cold: before every run two megabytes are
written to, which leaves the second-level cache to them. Hot: each is asked once before, unmeasured.
"""

import statistics
import time
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.material import kept_shelf
from contracts.bundle import Manifest
from features.assemble import RETRY_WIDTH, WIDTH, Matrix
from features.catalog import CANDIDATE, POSITION
from service.models.active import POINTER
from service.models.bundle import load
from service.models.scorer import Model
from service.policy.rules import Rules

ROWS: Final = {"approval": (1, 5, 10), "routing": (1, 5, 10), "retry": (1, 5, 10), "risk": (1,)}
RUNS: Final = 500
SWEEP_BYTES: Final = 2 << 20
_LINE: Final = 64


def main() -> None:
    """Print the median of each, in microseconds."""
    shelf = kept_shelf()
    folder = shelf / (shelf / POINTER).read_text().strip()
    manifest = load(folder, Rules.load()).manifest
    print(f"{'model':10}{'rows':>4}  {'caches':6}{'ONNX Runtime':>14}{'kernel':>8}   us, medians of {RUNS}")
    for name, counts in ROWS.items():
        models = _both(manifest, name, folder)
        for count in counts:
            payments = _payments(manifest, name, count)
            for cold in (True, False):
                reference, kernel = _medians(models, payments, cold)
                print(f"{name:10}{count:4}  {'cold' if cold else 'hot':6}{reference:14.1f}{kernel:8.1f}", flush=True)


def _both(manifest: Manifest, name: str, folder: Path) -> tuple[Model, Model]:
    """Return a model as ONNX Runtime answers for it, and as its kernel does."""
    entry = manifest.models[name]
    graph = (folder / f"{name}.onnx").read_bytes()
    reference, kernel = Model(name, entry, graph), Model(name, entry, graph)
    if (wrong := kernel.settle(graph, np.array(entry.golden_rows, dtype=np.float32))) is not None:
        raise SystemExit(wrong)
    return reference, kernel


def _payments(manifest: Manifest, name: str, count: int) -> list[Matrix]:
    """Return the rows of sixteen payments: what is the payment's own of one golden row, what is a candidate's of others."""
    entry = manifest.models[name]
    whole = np.zeros((len(entry.golden_rows), RETRY_WIDTH if name == "retry" else WIDTH), dtype=np.float32)
    whole[:, [POSITION[each] for each in entry.inputs]] = entry.golden_rows
    own = [POSITION[spec.name] for spec in CANDIDATE]
    made = []
    for number in range(len(whole)):
        rows = np.repeat(whole[number : number + 1], count, axis=0)
        rows[:, own] = whole[(number + np.arange(count)) % len(whole)][:, own]
        made.append(rows)
    return made


def _medians(models: tuple[Model, Model], payments: list[Matrix], cold: bool) -> tuple[float, float]:
    """Return the median microseconds of a run of each."""
    swept = np.zeros(SWEEP_BYTES, dtype=np.uint8)
    spent: tuple[list[int], list[int]] = ([], [])
    for run in range(RUNS):
        rows = payments[run % len(payments)]
        for which in (0, 1) if run // len(payments) % 2 else (1, 0):
            if cold:
                swept[::_LINE] += 1
            else:
                models[which].score(rows)
            began = time.perf_counter_ns()
            models[which].score(rows)
            spent[which].append(time.perf_counter_ns() - began)
    return statistics.median(spent[0]) / 1000, statistics.median(spent[1]) / 1000


if __name__ == "__main__":
    main()
