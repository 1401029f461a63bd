"""A small stage and a material to play it with, for the tests of the comparison."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.policies import material
from benchmarks.policies.material import Material
from benchmarks.policies.stage import Stage, build
from trainer.simulate import batch

PLAN = batch.Plan(payments=6_000, days=60, start=material.PLAN.start, seed=7, merchants=20, cards=4_000)


def made(folder: Path, shelf: Path) -> Path:
    """Make the material of a small world around a bundle that is there already: fitting is not what is tested."""

    def copied(options: Any) -> None:
        shutil.copytree(shelf, options.bundles)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(material, "fit", copied)
        home, seconds = material.kept(folder, PLAN, 100)
        assert seconds > 0
        again, none = material.kept(folder, PLAN, 100)
        assert (again, none) == (home, 0.0)
    return home


def small(opened: Material, name: str, seed: int = 0) -> Stage:
    return build(opened.world, name, seed, quick=True)
