"""How a category becomes a number: the smoothed rate of a target, learnt in training and carried by the bundle.

A category never seen in training takes the encoding's default, the overall rate. An absent field is a category of its own.
"""

from collections.abc import Mapping

from contracts.bundle import Encoding

SEPARATOR = "|"


def category(*values: str | None) -> str:
    """Return the key under which the rate of these values is kept; an absent value is an empty one.

    >>> category("northpay", None)
    'northpay|'
    """
    return SEPARATOR.join([value or "" for value in values])


def smoothed(positives: int, rows: int, overall: float, weight: float) -> float:
    """Return a category's rate shrunk towards the overall rate, as if `weight` rows of that rate had been seen too.

    The additive (m-estimate) form of target encoding, Micci-Barreca 2001.

    >>> smoothed(0, 0, 0.8, 50.0)
    0.8
    """
    return (positives + weight * overall) / (rows + weight)


def neutral(default: float) -> Encoding:
    """Return an encoding that knows no category."""
    return Encoding(default=default, values={})


Encodings = Mapping[str, Encoding]
"""By feature name, one for every `prior` feature of the catalog."""
