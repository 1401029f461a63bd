"""A sample of what was written, chosen by a checksum of the keys: the same one whatever the order, and however often."""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from zlib import crc32

from service.store.base import Item

_SEED: Final = 17


class Sample:
    """Up to `size` states of each kind.

    Parameters
    ----------
    size
        How many of each kind.
    known
        What an interrupted backfill had chosen already.
    """

    def __init__(self, size: int, known: Mapping[str, Mapping[str, bytes]] | None = None) -> None:
        self._size = size
        # Greatest rank first out.
        self._chosen: dict[str, list[tuple[int, str, bytes]]] = {}
        for kind, found in (known or {}).items():
            for key, blob in found.items():
                self._look_at(kind, key, blob)

    def of(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield `items`, and remember some."""
        for kind, key, blob in items:
            self._look_at(kind, key, blob)
            yield kind, key, blob

    def _look_at(self, kind: str, key: str, blob: bytes) -> None:
        chosen = self._chosen.setdefault(kind, [])
        rank = -crc32(key.encode(), _SEED)
        if len(chosen) < self._size:
            heapq.heappush(chosen, (rank, key, blob))
        elif self._size and rank > chosen[0][0]:
            heapq.heapreplace(chosen, (rank, key, blob))

    @property
    def chosen(self) -> dict[str, dict[str, bytes]]:
        """The states chosen, by kind and key."""
        return {kind: {key: blob for _, key, blob in sorted(found)} for kind, found in self._chosen.items()}
