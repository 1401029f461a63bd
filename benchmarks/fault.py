"""A fault: something that goes wrong for real and ends, and what answers may say meanwhile.

This module must not know what is asked meanwhile, nor what is measured.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, Final

from benchmarks.rig import Rig

BLIND: Final = frozenset({"features:store_timeout", "features:store_unavailable"})
UNTAKEN: Final = frozenset({"ledger:store_timeout", "ledger:store_unavailable"})
AWAY: Final = BLIND | UNTAKEN | {"features:last_known", "state:store_timeout", "state:store_unavailable"}
"""What answers and receipts may say while the store is away."""
AOF: Final = ("--appendonly", "yes", "--appendfsync", "everysec")


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
        rig.start_redis(*AOF)

    @abstractmethod
    def begin(self, rig: Rig) -> None:
        """Let it go wrong."""

    @abstractmethod
    def end(self, rig: Rig) -> None:
        """Let it be well again; return when what had failed is back."""

    def middle(self, rig: Rig) -> None:  # noqa: B027  (most faults stay as they are)
        """Let it go wrong differently, half of the time over; most do not."""


class Untroubled(Fault):
    """Nothing goes wrong: what the same load meets on the same machine in the same time all the same."""

    title = "No fault"

    def begin(self, rig: Rig) -> None:
        """Do nothing."""

    def end(self, rig: Rig) -> None:
        """Do nothing."""
