"""How far a processor is, for payments of some kind, from what a model says of it.

A forest sees a processor as rates among a hundred other numbers, and shrinks what is particular to it. What is left, per
processor and network, country, amount and merchant, is learnt once more from answers to rows that the model did not learn
from, and added to its log-odds here. This module must not know how that is learnt.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from contracts.hierarchy import Level
from contracts.payment import Payment
from features.encoding import category
from features.hierarchy import log_odds, probability

PROCESSOR: Final = "processor"
ABROAD: Final = "abroad"
AMOUNT_BAND: Final = "amount_band"


def abroad(issuer_country: str | None, merchant_country: str | None) -> str | None:
    """Return "1" for a card from another country than the merchant's, "0" for one from the same, None when one is not known.

    >>> abroad("FR", "DE"), abroad("DE", "DE"), abroad("DE", None)
    ('1', '0', None)
    """
    if issuer_country is None or merchant_country is None:
        return None
    return "1" if issuer_country != merchant_country else "0"


def amount_band(amount_minor: int) -> str:
    """Return the band of an amount; each is four times as wide as the one before.

    >>> amount_band(100), amount_band(4990), amount_band(19990)
    ('3', '6', '7')
    """
    return str(amount_minor.bit_length() // 2)


_DERIVED: Final[dict[str, Callable[[Any], str | None]]] = {
    ABROAD: lambda payment: abroad(payment.issuer_country, payment.merchant_country),
    AMOUNT_BAND: lambda payment: amount_band(payment.amount_minor),
}


def text(value: Any) -> str:
    """Return a field's value as it stands in a group's key.

    >>> text(None), text(True), text("visa")
    ('', '1', 'visa')
    """
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else str(value)


class Effects:
    """The effects of one model, made ready.

    Parameters
    ----------
    levels
        Whose fields begin with "processor"; beside a payment's own there are "abroad" and "amount_band".

    Raises
    ------
    ValueError
        A level names a field that no payment has.
    """

    __slots__ = ("_levels",)

    def __init__(self, levels: Sequence[Level]) -> None:
        self._levels: list[tuple[tuple[Callable[[Any], Any], ...], dict[str, dict[str, float]]]] = []
        for level in levels:
            first, *fields = level.fields
            if first != PROCESSOR:
                msg = f"expected an effect's fields to begin with {PROCESSOR!r}, got {level.fields}"
                raise ValueError(msg)
            for field in fields:
                if field not in _DERIVED and field not in Payment.__struct_fields__:
                    msg = f"expected an effect by a field of a payment, got {field!r}"
                    raise ValueError(msg)
            table: dict[str, dict[str, float]] = {}
            for key, offset in level.offsets.items():
                processor, _, group = key.partition("|")
                table.setdefault(group, {})[processor] = offset
            self._levels.append((tuple([_DERIVED.get(field) or attrgetter(field) for field in fields]), table))

    def __bool__(self) -> bool:
        return bool(self._levels)

    def offsets(self, payment: Any, processors: Sequence[str]) -> list[float]:
        """Return what is added to the log-odds of each candidate; 0 for one that nobody has seen."""
        total = [0.0] * len(processors)
        for fields, table in self._levels:
            group = table.get(category(*[text(field(payment)) for field in fields]))
            if group is not None:
                total = [so_far + group.get(name, 0.0) for so_far, name in zip(total, processors, strict=True)]
        return total


def shifted_all(probabilities: list[float], offsets: list[float]) -> list[float]:
    """Return probabilities moved by `offsets`, which are for one way of sending and come again for each."""
    ways = len(probabilities) // len(offsets)
    return [shifted(p, offset) for p, offset in zip(probabilities, offsets * ways, strict=True)]


def shifted(p: float, offset: float) -> float:
    """Return a probability whose log-odds were moved by `offset`; 0 moves nothing, to the last bit."""
    return p if offset == 0.0 else probability(log_odds(p) + offset)
