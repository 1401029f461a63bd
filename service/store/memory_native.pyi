"""The types of the kernel `memory_native.pyx`; `service.store.memory` says what it does."""

from collections.abc import Mapping, Sequence

from service.store.base import Item, Update
from service.store.expiring import Kept

def added(states: Mapping[str, Kept[str, bytes]], updates: Sequence[Update]) -> list[Item]: ...
def put_all(states: Mapping[str, Kept[str, bytes]], blobs: Sequence[Item]) -> None: ...
