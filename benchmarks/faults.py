"""Every fault, by name.

This module must not know how a fault is made.
"""

from typing import Final

from benchmarks.fault import Fault, Untroubled
from benchmarks.service_faults import BrokenBundle, FullDisk, Poisoned, ServiceKilled, Skewed, WorkerKilled
from benchmarks.store_faults import (
    Emptied,
    FailingOver,
    Frozen,
    Killed,
    ReadOnly,
    Refusing,
    Slow5,
    Slow50,
    Slow500,
)

FAULTS: Final[dict[str, type[Fault]]] = {
    "none": Untroubled,
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
"""Every fault by its name on the command line; ``none`` is none, for comparison."""
