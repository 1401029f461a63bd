"""The types of the kernel `moves_native.pyx`; `service.models.moves` says what it does."""

from service.models.moves import Floats

def without(
    moves: Floats,
    row: int,
    most: int,
    base: float,
    log_odds: bool,
    slope: float,
    high: float,
    offset: float,
    calibrated: bool,
    shift: float,
) -> list[tuple[int, float]]: ...
