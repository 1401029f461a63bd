"""A refused request, as RFC 9457 ``application/problem+json``."""

from contracts.base import Record


class Problem(Record, frozen=True, kw_only=True):
    """What was wrong: a stable `code`, the JSON `path` of the culprit, what was expected; never the value."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    path: str = "$"
