"""How long segments are written and kept, and how much of the disk is left alone."""

from typing import NamedTuple


class Keeping(NamedTuple):
    """How long segments are written and kept.

    Attributes
    ----------
    segment_bytes
        Size at which a segment is sealed and the next one begun.
    segment_seconds
        Age at which it is, unless it is empty.
    days
        Sealed segments are deleted when their last event is older.
    most_bytes
        The oldest are deleted while all of them are larger; 0 is no limit.
    floor_bytes
        With less free space than this nothing is written; 0 leaves that to the disk.
    """

    segment_bytes: int = 64 << 20
    segment_seconds: float = 3_600.0
    days: float = 90.0
    most_bytes: int = 0
    floor_bytes: int = 64 << 20
