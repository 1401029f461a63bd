from collections.abc import Container, Sequence

from contracts.inputs import Standing

def standings_of(
    processors: Sequence[str],
    blobs: Sequence[bytes | None],
    at: int,
    *,
    known: Container[str] | None = None,
    spread: float = 0.5,
) -> tuple[Standing, ...]: ...
