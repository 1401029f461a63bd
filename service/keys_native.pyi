"""The types of the kernel `keys_native.pyx`; `service.question` and `service.record` say what it does."""

from collections.abc import Sequence

from contracts.payment import Payment
from features.increment import Increment
from service.record import DecisionRecord
from service.store.base import StateKeys, Update

def keys(
    request: Payment, processors: Sequence[str], network: str, ledger: str, record: str, answer: str
) -> StateKeys: ...
def updates(record: DecisionRecord, increment: Increment, processor: str | None) -> list[Update]: ...
