"""What the log and the metrics hear of answers of 5xx, and the log of callers that were turned away.

This module must not know requests: a route's template and the kind of the error are all it is told.
"""

import logging
from typing import Final

from service.errors import AccessRefused, NotReady, RateLimited
from service.logs import Seldom
from service.metrics import Metrics

log: Final = logging.getLogger(__name__)


class Reporter:
    """Counts and logs answers of 5xx: a bug with its stack, an outage as one line, of each kind one a second at most.

    Parameters
    ----------
    metrics
        Where bugs are counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._seldom = Seldom(1.0)

    def report(self, route: str, error: Exception, status: int) -> None:
        """Count and log one."""
        if status == 500:
            self._metrics.error(route)
        kept_back = self._seldom.kept_back((route, type(error).__name__))
        if kept_back is None or isinstance(error, NotReady):
            return
        fields = {"fields": {"route": route, "kept_back": kept_back}}
        if status == 500:
            log.error("unexpected error", exc_info=error, extra=fields)
        else:
            log.warning("refused for an outage: %s", error, extra=fields)

    def turned_away(self, route: str, error: AccessRefused) -> None:
        """Log a caller that is not known or asked for what it may not have; a limit that works is not worth a line."""
        if isinstance(error, RateLimited):
            return
        kept_back = self._seldom.kept_back((route, type(error).__name__))
        if kept_back is not None:
            log.warning("turned away: %s", error, extra={"fields": {"route": route, "kept_back": kept_back}})
