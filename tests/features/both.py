"""The plan in Python and the one in C, where it was built, asked together: they answer the same bytes."""

from collections.abc import Sequence
from typing import Any

from contracts.payment import Payment
from features.assemble import Blobs, Matrix, Plan, Unreadable, nobody
from features.encoding import Encodings
from features.native import IS_NATIVE, plan


class Both(Plan):
    """Answers what the Python answers, once the C has said the same."""

    def __init__(self, encodings: Encodings, unreadable: Unreadable = nobody) -> None:
        super().__init__(encodings, unreadable)
        self.told: list[Any] = []
        self._native = plan(encodings, lambda *what: self.told.append(what)) if IS_NATIVE else None

    def rows(
        self, payment: Payment, at: int, states: Blobs, processors: Sequence[str], candidates: Sequence[Blobs]
    ) -> Matrix:
        rows = super().rows(payment, at, states, processors, candidates)
        if self._native is not None:
            native = self._native.rows(payment, at, states, processors, candidates)
            assert (native.dtype, native.shape) == (rows.dtype, rows.shape)
            assert native.tobytes() == rows.tobytes()
        return rows

    def retry_rows(
        self, base: Matrix, payment: Payment, at: int, processors: Sequence[str], waits: Sequence[int]
    ) -> Matrix:
        rows = super().retry_rows(base, payment, at, processors, waits)
        if self._native is not None:
            assert self._native.retry_rows(base, payment, at, processors, waits).tobytes() == rows.tobytes()
        return rows
