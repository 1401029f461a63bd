"""The types of the kernel `state_native.pyx`; `features.newest` and `features.undo` say what it does."""

from features.increment import Increment
from features.layout import Layout
from features.seen import LastSeen

def last_seen(layout: Layout, blob: bytes | None, member: int | None) -> LastSeen: ...
def add_in_order(layout: Layout, blob: bytes | None, increment: Increment, member: int | None) -> bytes | None: ...
