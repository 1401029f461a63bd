"""The types of the kernel `ledger_native.pyx`; `service.ledger` says what it does."""

from collections.abc import Sequence
from typing import Any

from service.ledger import Entry, Limit

def reserve(blob: bytes | None, entry: Entry, limits: Sequence[Limit]) -> Any: ...
