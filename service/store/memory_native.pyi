"""The types of the kernel `memory_native.pyx`; `service.store.memory` says what it does."""

from collections.abc import Mapping, Sequence

def fetched(
    tables: Sequence[Mapping[str, tuple[float, bytes]]], keys: Sequence[str | None], now: float
) -> tuple[bytes | None, ...]: ...
