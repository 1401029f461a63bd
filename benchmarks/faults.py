"""The faults, each as it happens: processes killed and frozen, servers that refuse, files that break, disks that are full.

This module must not know what is asked meanwhile, nor what is measured.
"""

import hashlib
import os
import signal
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.rig import Rig, wait_for
from benchmarks.skewed import set_offset
from contracts.bundle import Manifest
from tests.servers import RedisServer, SentinelServer, wait_until

BLIND: Final = frozenset({"features:store_timeout", "features:store_unavailable"})
UNTAKEN: Final = frozenset({"ledger:store_timeout", "ledger:store_unavailable"})
AWAY: Final = BLIND | UNTAKEN | {"features:last_known", "state:store_timeout", "state:store_unavailable"}
"""What answers and receipts may say while the store is away."""
POISON_MINOR: Final = 900_000_000
"""Amount, in minor units, of the requests that make a model raise."""
AMOUNT: Final = "amount_minor_whole"
_AOF: Final = ("--appendonly", "yes", "--appendfsync", "everysec")


class Fault(ABC):
    """Something that goes wrong, and ends.

    Attributes
    ----------
    title
        What happens, for a reader.
    allowed, expected
        Codes that an answer may carry meanwhile, and of which at least one must be seen.
    empties
        Whether the store itself forgets what it had.
    poisons
        Whether some of the requests are poisoned.
    kills
        Whether a process that answers is ended.
    """

    title: ClassVar[str]
    allowed: ClassVar[frozenset[str]] = frozenset()
    expected: ClassVar[frozenset[str]] = frozenset()
    empties: ClassVar[bool] = False
    poisons: ClassVar[bool] = False
    kills: ClassVar[bool] = False

    def prepare(self, rig: Rig) -> None:
        """Set up all that is there before the service starts."""
        rig.start_redis(*_AOF)

    @abstractmethod
    def begin(self, rig: Rig) -> None:
        """Let it go wrong."""

    @abstractmethod
    def end(self, rig: Rig) -> None:
        """Let it be well again; return when what had failed is back."""


def _redis(rig: Rig) -> RedisServer:
    assert rig.redis is not None
    return rig.redis


class Killed(Fault):
    """The store's process is ended and comes back with what its own log holds."""

    title = "Redis killed, comes back with its log"
    allowed = AWAY
    expected = BLIND

    def begin(self, rig: Rig) -> None:
        """Kill it."""
        _redis(rig).kill()

    def end(self, rig: Rig) -> None:
        """Start it again."""
        _redis(rig).start()
        rig.settle(_redis(rig))


class Emptied(Killed):
    """The store's process is ended and comes back with nothing."""

    title = "Redis restarted empty"
    empties = True

    def prepare(self, rig: Rig) -> None:
        """Start one that keeps nothing on disk."""
        rig.start_redis()


class Frozen(Fault):
    """The store's process gets no turn any more."""

    title = "Redis frozen (SIGSTOP)"
    allowed = AWAY
    expected = BLIND

    def begin(self, rig: Rig) -> None:
        """Stop it."""
        _redis(rig).pause()

    def end(self, rig: Rig) -> None:
        """Let it go on."""
        _redis(rig).resume()


class Slow(Fault):
    """Every reply of the store comes later."""

    milliseconds: ClassVar[float]
    allowed = AWAY

    def prepare(self, rig: Rig) -> None:
        """Put a proxy in the way."""
        super().prepare(rig)
        self._hold_back = rig.start_proxy()

    def begin(self, rig: Rig) -> None:
        """Hold replies back."""
        self._hold_back(self.milliseconds)

    def end(self, rig: Rig) -> None:
        """Hold nothing back."""
        self._hold_back(0)


class Slow5(Slow):
    """Slower, but in time."""

    title = "Redis slower by 5 ms"
    milliseconds = 5


class Slow50(Slow):
    """Too slow for an answer, not for a write behind one."""

    title = "Redis slower by 50 ms"
    milliseconds = 50
    expected = BLIND


class Slow500(Slow):
    """Too slow for anything."""

    title = "Redis slower by 500 ms"
    milliseconds = 500
    expected = BLIND


class Refusing(Fault):
    """The store answers every command with an error."""

    title = "Redis answers errors (no rights)"
    allowed = AWAY
    expected = frozenset({"features:store_unavailable"})

    def prepare(self, rig: Rig) -> None:
        """Make a user who can give the rights back."""
        super().prepare(rig)
        with _redis(rig).client() as client:
            client.execute_command("ACL", "SETUSER", "keeper", "on", ">keeper", "~*", "+@all")

    def begin(self, rig: Rig) -> None:
        """Take the rights away."""
        self._set(rig, "-@all")

    def end(self, rig: Rig) -> None:
        """Give them back."""
        self._set(rig, "+@all")

    def _set(self, rig: Rig, rights: str) -> None:
        with _redis(rig).client() as client:
            client.execute_command("AUTH", "keeper", "keeper")
            client.execute_command("ACL", "SETUSER", "default", rights)


class ReadOnly(Fault):
    """The store becomes a replica of nobody: it can be read, not written."""

    title = "Redis read-only"
    allowed = AWAY
    expected = UNTAKEN

    def begin(self, rig: Rig) -> None:
        """Make it a replica of a port where nobody is."""
        with _redis(rig).client() as client:
            client.replicaof("127.0.0.1", "1")

    def end(self, rig: Rig) -> None:
        """Make it a primary again."""
        with _redis(rig).client() as client:
            client.replicaof("NO", "ONE")


class FailingOver(Fault):
    """The primary is lost for good, and the Sentinels make its replica the new one."""

    title = "Redis fails over (Sentinel)"
    allowed = AWAY
    expected = BLIND | UNTAKEN

    def prepare(self, rig: Rig) -> None:
        """Start a primary, a replica and two Sentinels."""
        primary = rig.start_redis()
        self._replica = rig.start_redis(primary=primary)
        sentinels = [SentinelServer(primary), SentinelServer(primary)]
        for sentinel in sentinels:
            rig.stack.callback(sentinel.stop)
            sentinel.start()
        with sentinels[0].client() as client:
            wait_until(lambda: bool(client.sentinel_slaves("mymaster")), "the Sentinel knows the replica")
        with self._replica.client() as client:
            wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in sentinels)
        rig.settings["STORE"] = f"sentinel://{hosts}/mymaster/0"

    def begin(self, rig: Rig) -> None:
        """Kill the primary."""
        _redis(rig).kill()

    def end(self, rig: Rig) -> None:
        """Wait for the replica's promotion: nobody does anything else."""
        with self._replica.client() as client:
            wait_until(lambda: client.info("replication")["role"] == "master", "the replica is promoted")
        rig.redis = self._replica


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

    def middle(self) -> None:
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
        rig.add_bundle("poisonous", _poison)
        rig.activate("poisonous")

    def begin(self, rig: Rig) -> None:
        """Do nothing: the requests are what is wrong."""

    def end(self, rig: Rig) -> None:
        """Do nothing."""


def _poison(folder: Path) -> None:
    """Let the approval model look up a place that is not there when the amount is the poison."""
    path = folder / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    entry = manifest.models["approval"]
    assert entry.file is not None
    graph = onnx.load(str(folder / entry.file))
    column = entry.inputs.index("amount_minor_major")
    nodes: list[Any] = []
    constants: dict[str, Any] = {
        "poison_column": np.array([column], dtype=np.int64),
        "poison_limit": np.array([POISON_MINOR / 200], dtype=np.float32),
        "poison_far": np.array([1 << 40], dtype=np.int64),
        "poison_table": np.zeros(1, dtype=np.float32),
    }
    for name, value in constants.items():
        graph.graph.initializer.append(numpy_helper.from_array(value, name))
    for node in graph.graph.node:
        for place, name in enumerate(node.output):
            if name == "probability":
                node.output[place] = "probability_unpoisoned"
    nodes = [
        helper.make_node("Gather", ["rows", "poison_column"], ["poison_amount"], axis=1),
        helper.make_node("Greater", ["poison_amount", "poison_limit"], ["poison_is"]),
        helper.make_node("Cast", ["poison_is"], ["poison_number"], to=TensorProto.INT64),
        helper.make_node("Mul", ["poison_number", "poison_far"], ["poison_place"]),
        helper.make_node("Gather", ["poison_table", "poison_place"], ["poison_found"], axis=0),
        helper.make_node("Squeeze", ["poison_found"], ["poison_zero"]),
        helper.make_node("Add", ["probability_unpoisoned", "poison_zero"], ["probability"]),
    ]
    graph.graph.node.extend(nodes)
    content = graph.SerializeToString()
    (folder / entry.file).write_bytes(content)
    changed = msgspec.structs.replace(entry, sha256=hashlib.sha256(content).hexdigest())
    manifest = msgspec.structs.replace(manifest, models={**manifest.models, "approval": changed})
    path.write_bytes(msgspec.json.encode(manifest))


FAULTS: Final[dict[str, type[Fault]]] = {
    "killed": Killed,
    "frozen": Frozen,
    "slow_5": Slow5,
    "slow_50": Slow50,
    "slow_500": Slow500,
    "errors": Refusing,
    "read_only": ReadOnly,
    "emptied": Emptied,
    "failover": FailingOver,
    "bundle": BrokenBundle,
    "disk_full": FullDisk,
    "clock": Skewed,
    "worker": WorkerKilled,
    "service": ServiceKilled,
    "poison": Poisoned,
}
"""Every fault by its name on the command line."""
