"""Event time as the features count it: whole microseconds since 1970-01-01 UTC.

Integers, so that a window's edge is the same place for the service, for the Lua script in Redis and for Polars.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


def micros(moment: datetime) -> int:
    """Return an aware `moment` as microseconds since the epoch, exactly.

    >>> micros(datetime(1970, 1, 2, tzinfo=UTC)) == DAY
    True
    """
    return (moment - EPOCH) // _MICROSECOND


def moment(us: int) -> datetime:
    """Return microseconds since the epoch as an aware datetime.

    >>> moment(DAY).isoformat()
    '1970-01-02T00:00:00+00:00'
    """
    return EPOCH + timedelta(microseconds=us)
