from collections.abc import Sequence

from contracts.bundle import PolicyParameters
from contracts.decision import Reason
from contracts.inputs import Standing, Variant
from contracts.payment import Payment
from service.ledger import Entry
from service.policy.choice import Choice, Kind
from service.policy.facts_native import Facts

class Kernel:
    def __init__(self, parameters: PolicyParameters, facts: Facts) -> None: ...
    def choose(
        self,
        request: Payment,
        processors: tuple[str, ...],
        approval: Sequence[Sequence[float]],
        risk: float,
        kind: Kind,
        at: int,
        degraded: tuple[str, ...],
        variants: tuple[Variant, ...],
        standings: Sequence[Standing],
        ledger: bytes | Sequence[Entry] | None,
    ) -> Choice | None: ...
    def needed(
        self,
        request: Payment,
        processors: tuple[str, ...],
        variants: tuple[Variant, ...],
        risk: float,
        kind: Kind,
        at: int,
        ledger: bytes | Sequence[Entry] | None,
    ) -> tuple[Variant, ...] | None: ...

def said(words: tuple[str, str], *values: str | float) -> Reason: ...
