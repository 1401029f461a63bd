"""The types of the kernel `plan_native.pyx`; `features.assemble` says what it does."""

from collections.abc import Sequence

from contracts.payment import Payment
from features.assemble import Blobs, Matrix, Unreadable
from features.encoding import Encodings

class NativePlan:
    def __init__(self, encodings: Encodings, unreadable: Unreadable | None = None) -> None: ...
    def rows(
        self, payment: Payment, at: int, states: Blobs, processors: Sequence[str], candidates: Sequence[Blobs]
    ) -> Matrix: ...
    def retry_rows(
        self, base: Matrix, payment: Payment, at: int, processors: Sequence[str], waits: Sequence[int]
    ) -> Matrix: ...
