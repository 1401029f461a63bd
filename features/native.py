"""The kernels in use: those in C where they could be built, else the Python that they stand in for.

Which it is is settled when this is imported, never on a request. This module must not know what a kernel does.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from contracts.hierarchy import Level
from contracts.payment import Payment
from features.assemble import Blobs, Matrix, Plan, Unreadable, nobody
from features.effects import Effects
from features.encoding import Encodings

try:
    from features.effects_native import NativeEffects, shifted_all
    from features.plan_native import NativePlan
    from features.state_native import last_seen

    _PLAN: Any = NativePlan
    _EFFECTS: Any = NativeEffects
except ImportError:
    from features.effects import shifted_all
    from features.undo import last_seen

    _PLAN, _EFFECTS = Plan, Effects

IS_NATIVE = _PLAN is not Plan
"""Whether the kernels in C are used."""

__all__ = ["IS_NATIVE", "Rows", "effects", "last_seen", "plan", "shifted_all"]


class Rows(Protocol):
    """The compiled catalog: `features.assemble.Plan`, or its kernel."""

    def rows(  # noqa: D102
        self, payment: Payment, at: int, states: Blobs, processors: Sequence[str], candidates: Sequence[Blobs]
    ) -> Matrix: ...
    def retry_rows(  # noqa: D102
        self, base: Matrix, payment: Payment, at: int, processors: Sequence[str], waits: Sequence[int]
    ) -> Matrix: ...


def plan(encodings: Encodings, unreadable: Unreadable = nobody) -> Rows:
    """Return the compiled catalog; see `features.assemble.Plan`."""
    made: Rows = _PLAN(encodings, unreadable)
    return made


def effects(levels: Sequence[Level]) -> Effects:
    """Return the effects of one model, made ready; see `features.effects.Effects`, also for what is refused."""
    # The reference checks what it is given.
    made: Effects = _EFFECTS(levels) if Effects(levels) else Effects(levels)
    return made
