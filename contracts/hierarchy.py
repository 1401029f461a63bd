"""What is expected of a payment about whose processor, BIN or merchant nothing is known yet.

This module must not know how it is learnt.
"""

import msgspec

from contracts.base import Record


class Level(Record, frozen=True, kw_only=True):
    """One level of the hierarchy: which fields name a group, and how far each group is from what the levels before expect.

    Attributes
    ----------
    fields
        Fields of a payment; a group's key joins their values with "|", an absent one is empty.
    spread
        Standard deviation of the groups' offsets, log-odds: how far a group that nobody has seen may be off.
    offsets
        By group, log-odds, shrunk towards 0 by how little was seen of it (empirical Bayes). A group that is not here has 0.
    """

    fields: tuple[str, ...]
    spread: float
    offsets: dict[str, float]


class Hierarchy(Record, frozen=True, kw_only=True):
    """Approval from the whole down: all payments, network, issuer country, BIN, merchant; and processors beside.

    The expected log-odds of a payment are those of `rate` plus its groups' offsets. `processors` is, by processor, how far it
    is from what is expected of the payments it was given; `processor_spread` the standard deviation of that.
    """

    rate: float
    levels: tuple[Level, ...]
    processors: dict[str, float] = msgspec.field(default_factory=dict)
    processor_spread: float = 0.5
