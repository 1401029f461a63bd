"""Faults on the service's own side: its bundle, its journal's disk, its clock, its processes, and requests that poison a model.

This module must not know what is asked meanwhile, nor what is measured.
"""

import os
import signal
from pathlib import Path
from typing import Final

from benchmarks.fault import AWAY, Fault
from benchmarks.poison import poison
from benchmarks.rig import Rig, wait_for
from benchmarks.skewed import set_offset


class BrokenBundle(Fault):
    """The bundle that is swapped to has a model file that was cut short, until somebody puts the whole one there."""

    title = "Bundle corrupted while swapping"

    def begin(self, rig: Rig) -> None:
        """Publish it and point to it."""
        self._whole = (rig.shelf / rig.active / "routing.onnx").read_bytes()
        self._file = rig.add_bundle("broken", self._cut) / "routing.onnx"
        rig.activate("broken")

    def end(self, rig: Rig) -> None:
        """Mend the file."""
        self._file.write_bytes(self._whole)

    def _cut(self, folder: Path) -> None:
        (folder / "routing.onnx").write_bytes(self._whole[: len(self._whole) // 2])


class FullDisk(Fault):
    """The disk of the journal has no room left, until somebody makes some."""

    title = "Journal's disk full"
    allowed = frozenset({"journal"})
    expected = frozenset({"journal"})

    def prepare(self, rig: Rig) -> None:
        """Put the journal on a small file system."""
        super().prepare(rig)
        rig.small_journal()

    def begin(self, rig: Rig) -> None:
        """Fill it to the last byte."""
        with (rig.journal / "ballast").open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue

    def end(self, rig: Rig) -> None:
        """Make room."""
        (rig.journal / "ballast").unlink()


class Skewed(Fault):
    """The wall clock jumps forward an hour, then back two, then to where it should be."""

    title = "Wall clock jumps (+1 h, -2 h)"
    _HOUR: Final = 3600.0

    def prepare(self, rig: Rig) -> None:
        """Let the service look at a clock of its own."""
        super().prepare(rig)
        rig.module = "benchmarks.skewed"
        self._file = rig.folder / "skew"
        set_offset(self._file, 0.0)
        rig.variables["SKEW_FILE"] = str(self._file)

    def begin(self, rig: Rig) -> None:
        """Jump forward."""
        set_offset(self._file, self._HOUR)

    def middle(self, rig: Rig) -> None:
        """Jump back."""
        set_offset(self._file, -self._HOUR)

    def end(self, rig: Rig) -> None:
        """Jump to where it should be."""
        set_offset(self._file, 0.0)


class WorkerKilled(Fault):
    """One of two workers is ended with everything it has under way; its supervisor starts another."""

    title = "One of two workers killed (SIGKILL)"
    kills = True

    def prepare(self, rig: Rig) -> None:
        """Start two workers."""
        super().prepare(rig)
        rig.settings["WORKERS"] = "2"

    def begin(self, rig: Rig) -> None:
        """Kill one."""
        self._before = set(rig.workers())
        os.kill(min(self._before), signal.SIGKILL)

    def end(self, rig: Rig) -> None:
        """Wait for the other one: nobody does anything else."""
        lost = min(self._before)
        wait_for(lambda: len(found := rig.workers()) == len(self._before) and lost not in found, 30.0, "a new worker")


class ServiceKilled(Fault):
    """The only process of the service is ended with everything it has under way, and started again at once."""

    title = "The only process killed (SIGKILL), started again"
    allowed = AWAY
    kills = True

    def begin(self, rig: Rig) -> None:
        """Kill it and start it again, as whoever supervises it does."""
        rig.kill_service()
        rig.start_service()

    def end(self, rig: Rig) -> None:
        """Do nothing: it is back."""


class Poisoned(Fault):
    """One request in ten makes a model raise."""

    title = "Poisoned requests: a model raises"
    allowed = frozenset({"model:approval_failed"})
    expected = frozenset({"model:approval_failed"})
    poisons = True

    def prepare(self, rig: Rig) -> None:
        """Put a bundle on the shelf whose approval model has a graph that fails on an amount."""
        super().prepare(rig)
        rig.add_bundle("poisonous", poison)
        rig.activate("poisonous")

    def begin(self, rig: Rig) -> None:
        """Do nothing: the requests are what is wrong."""

    def end(self, rig: Rig) -> None:
        """Do nothing."""
