"""What is expected of a payment about whose processor, BIN or merchant nothing is known yet.

This module must not know how it is learnt.
"""

import msgspec

from contracts.base import Record


class Level(Record, frozen=True, kw_only=True):
    """One level of the hierarchy: which fields name a group, and each group's expected rate.

    `strength` is how many attempts the rate of the level above is worth against a group's own (empirical Bayes); `rates` are
    already shrunk so, and a group that is not in it has the rate of the level above.
    """

    fields: tuple[str, ...]
    strength: float
    rates: dict[str, float]


class Hierarchy(Record, frozen=True, kw_only=True):
    """Approval rates from the whole down: global, network, issuer country, BIN, merchant.

    A group's key joins the values of its fields with "|". `processors` is, by processor, how far it is from what the
    hierarchy expects of its payments, in log-odds and already shrunk; `processor_spread` the standard deviation of that over
    processors: how much a processor that nobody has seen may differ.
    """

    rate: float
    levels: tuple[Level, ...]
    processors: dict[str, float] = msgspec.field(default_factory=dict)
    processor_spread: float = 0.5
