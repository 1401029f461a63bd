"""What a service tells of itself while it is under load: how much it wrote later, and whether it is behind.

It may be gone meanwhile: then it tells nothing. This module must not know why it is watched.
"""

from collections.abc import Mapping
from typing import Final
from urllib.request import urlopen

from benchmarks.rig import Rig, figures

_BEHIND: Final = "pointsman_store_behind"
_WRITTEN: Final = "pointsman_store_written_later_total"
LOOK_SECONDS: Final = 0.2


def told(rig: Rig) -> Mapping[str, float]:
    """Return the value of every series of the service's metrics; nothing when it cannot be asked."""
    try:
        with urlopen(f"{rig.url}/metrics", timeout=2) as answer:  # noqa: S310  (this machine's loopback)
            return figures(answer.read().decode())
    except OSError:
        return {}


def written_in(found: Mapping[str, float]) -> int:
    """Return how many updates that were missed had been written, according to some metrics."""
    return sum(int(value) for name, value in found.items() if name.startswith(_WRITTEN))


def written_later(rig: Rig) -> int:
    """Return how many updates that were missed this process of the service has written."""
    return written_in(told(rig))


def is_behind(rig: Rig) -> bool:
    """Tell whether a worker of the service has updates that its store may lack, or cannot be asked."""
    said = [value for name, value in told(rig).items() if name.startswith(_BEHIND)]
    return len(said) < int(rig.settings.get("WORKERS", "1")) or any(said)
