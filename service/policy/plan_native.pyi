from collections.abc import Sequence

from contracts.bundle import PolicyParameters
from contracts.inputs import Standing, Variant
from contracts.payment import RetryRequest
from service.policy.facts_native import Facts
from service.policy.grid import Retry
from service.policy.permit import Permit

class Planning:
    def __init__(self, parameters: PolicyParameters, facts: Facts) -> None: ...
    def best(
        self,
        request: RetryRequest,
        permit: Permit,
        processors: tuple[str, ...],
        waits: tuple[int, ...],
        modes: tuple[Variant, ...],
        probability: Sequence[Sequence[float]],
        at: int,
        standings: Sequence[Standing],
    ) -> tuple[Retry, Retry | None] | None: ...
