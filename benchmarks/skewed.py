"""``python -m benchmarks.skewed``: the service with a wall clock that jumps, in its own process and nowhere else.

The seconds by which its clock is off are the content of the file that ``SKEW_FILE`` names, a double, read at every look at
the clock. All else is the service as it is started anywhere. The clock of the machine is not touched.
"""

import mmap
import os
import struct
import sys
from datetime import UTC, datetime, timedelta, tzinfo
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Final

OFFSET: Final = struct.Struct("<d")
_MODULES: Final = ("service.decide", "service.learn", "service.catchup", "service.app")


def set_offset(path: Path, seconds: float) -> None:
    """Let the clock of whoever reads this file be off by so much from now on."""
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.write(OFFSET.pack(seconds))


def skew(path: Path) -> None:
    """Give every module of the service that looks at the wall clock one that is off."""
    file = path.open("rb")
    offset = mmap.mmap(file.fileno(), OFFSET.size, access=mmap.ACCESS_READ)

    class Skewed(datetime):
        """A `datetime` whose present moment is off."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz or UTC) + timedelta(seconds=OFFSET.unpack_from(offset)[0])

    for name in _MODULES:
        import_module(name)
    for name, module in sorted(sys.modules.items()):
        if name.startswith("service.") and isinstance(module, ModuleType) and vars(module).get("datetime") is datetime:
            vars(module)["datetime"] = Skewed


if __name__ == "__main__":
    skew(Path(os.environ.pop("SKEW_FILE")))
    sys.exit(import_module("service.__main__").main())
