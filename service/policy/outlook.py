"""Outlook: what is known of a processor now, and for how long it holds.

This module must not know what a retry earns.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from contracts.inputs import Standing
from contracts.payment import Payment
from contracts.terms import Volume
from features.clock import SECOND, micros, moment
from service.policy.constraints import Able

OUTAGE_SECONDS: Final = 3600
"""A processor that is down is no candidate before: most outages are over within the hour (product default)."""
PROBE_SECONDS: Final = 300
"""One that is being tried again is no candidate before: a retry is no probe (product default)."""
EXCESS_HALF_LIFE: Final = 3600.0
"""Seconds after which half of an excess of faults is expected to be over (product default, as `OUTAGE_SECONDS`)."""
SHIFT_HALF_LIFE: Final = 6 * 3600.0
"""Seconds after which half of what recent outcomes add still holds: the slowest scale they are summed on."""

Span = tuple[int, int]
"""From and to, seconds from now, the end not included."""


class Outlook:
    """What the processors of one bundle can do, and when they will not work.

    Attributes
    ----------
    limited : frozenset of str
        The processors against which something is known.
    """

    __slots__ = ("_ables", "limited")

    def __init__(self, ables: Mapping[str, Able]) -> None:
        self._ables = ables
        self.limited = frozenset(ables)

    def able(
        self, processor: str, request: Payment, network: str, now: datetime, *, token: bool, three_ds: bool
    ) -> bool:
        """Say whether nothing but the time speaks against sending a payment there in this way."""
        able = self._ables.get(processor)
        if able is None:
            return True
        if (token and not able.token) or (three_ds and not able.three_ds):
            return False
        codes = able.against(network, request.currency, request.issuer_country, request.merchant_country, now)
        return not [code for code in codes if code != "scheduled_outage"]

    def away(
        self, processor: str, standing: Standing | None, volume: Volume | None, now: int
    ) -> tuple[tuple[Span, ...], bool]:
        """Return when a processor is no candidate, and whether a scheduled outage is why it does not work now.

        A scheduled outage lasts until its end. A processor that is down for another reason is away for `OUTAGE_SECONDS`,
        one whose cap is reached until the calendar month is over (UTC).

        Parameters
        ----------
        now : int
            Moment of the question, microseconds.
        """
        spans: list[Span] = []
        scheduled = False
        able = self._ables.get(processor)
        if able is not None:
            for begins, ends in able.outages:
                first, last = micros(begins), micros(ends)
                if last > now:
                    spans.append(((first - now) // SECOND, -((now - last) // SECOND)))
                    scheduled = scheduled or first <= now
        if standing is not None:
            if not scheduled and standing.health != "up":
                spans.append((0, OUTAGE_SECONDS if standing.health == "down" else PROBE_SECONDS))
            if volume is not None and volume.cap_minor is not None and standing.month_minor >= volume.cap_minor:
                spans.append((0, -((now - _next_month(now)) // SECOND)))
        return tuple(spans), scheduled


@lru_cache(maxsize=4096)
def fades(wait: int) -> tuple[float, float]:
    """Return what is left after a wait of an excess of faults, and of a shift: 2^(-wait / half-life).

    >>> fades(0), fades(3600)[0]
    ((1.0, 1.0), 0.5)
    """
    return 2.0 ** (-wait / EXCESS_HALF_LIFE), 2.0 ** (-wait / SHIFT_HALF_LIFE)


def _next_month(now: int) -> int:
    today = moment(now)
    year, month = (today.year, today.month + 1) if today.month < 12 else (today.year + 1, 1)
    return micros(datetime(year, month, 1, tzinfo=UTC))
