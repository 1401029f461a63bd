"""What processes use, read from ``/proc``: memory and processor time of a process and all that it started.

Where there is no ``/proc``, nothing is known and nothing is said. This module must not know what the processes are.
"""

import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_MIB: Final = 1 << 20


def family(pid: int) -> list[int]:
    """Return the ids of a process and of every process that it or its children started and that still runs."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.glob("[0-9]*"):
        fields = _fields(int(entry.name))
        if fields is not None:
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        each = waiting.pop()
        found.append(each)
        waiting += children.get(each, [])
    return sorted(found)


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its family since each began, and of its children that have ended."""
    ticks = 0
    for each in family(pid):
        fields = _fields(each)
        if fields is not None:
            # User and system time of itself, and of children it has waited for: fields 14 to 17 of proc(5).
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / _ticks_per_second()


def rss_mib(pid: int) -> float | None:
    """Return the resident memory of one process in MiB, pages that it shares with others included; None when it is unknown."""
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    kib = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), None)
    return None if kib is None else kib * 1024 / _MIB


def _fields(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/<pid>/stat`` from the third on: the name before them may hold anything."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return None


def _ticks_per_second() -> int:
    return os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
