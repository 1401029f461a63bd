"""Stages in several processes, each with the material opened once.

This module must not know what is played.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from pathlib import Path

from benchmarks.policies.material import Material, opened
from benchmarks.policies.run import Outcome, run

_material: Material | None = None


class WorkerLost(Exception):
    """A worker process ended before its stage did."""


def play(home: Path, names: Sequence[str], seeds: int, workers: int, *, quick: bool) -> list[list[Outcome]]:
    """Return the outcomes of every scenario by seed, played in `workers` processes.

    Parameters
    ----------
    home
        Where the material is (`material.kept`).

    Raises
    ------
    WorkerLost
        When a worker cannot open the material, or something outside ended it.
    """
    # The long ones first, so that no worker is left with one at the end.
    order = sorted(product(names, range(seeds)), key=lambda each: (each[0] != "processor_outage", each[1]))
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(min(workers, len(order)), context, initializer=_open, initargs=(home,)) as pool:
            done = dict(zip(order, pool.map(_run, order, [quick] * len(order)), strict=True))
    except BrokenProcessPool as error:
        msg = f"a worker process ended before its stage did: {error}"
        raise WorkerLost(msg) from error
    return [[done[name, seed] for seed in range(seeds)] for name in names]


def _open(home: Path) -> None:
    global _material
    _material = opened(home)


def _run(task: tuple[str, int], quick: bool) -> Outcome:
    assert _material is not None
    name, seed = task
    return run(_material, name, seed, quick=quick)
