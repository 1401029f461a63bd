from collections.abc import Sequence

from service.policy.grid import Block, Retry

def best_of(blocks: Sequence[Block], least: float) -> tuple[Retry | None, Retry | None]: ...
