"""Strong customer authentication as the rules in force on one day have it, compiled for lookup.

This module must not know a payment, nor what is done about a duty to authenticate.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeVar

import msgspec

from contracts.decision import BoundRule
from service.policy.errors import RuleError
from service.policy.rule import AuthenticationRule, CounterRule, LowValueRule, RiskAnalysisRule, Rule

_R = TypeVar("_R", bound=Rule)
Ruling = Literal["required", "one_leg_out", "merchant_initiated"]


class Scope(msgspec.Struct, frozen=True, gc=False):
    """Where a ruling on authentication holds."""

    countries: frozenset[str]
    bound: BoundRule


class LowValue(msgspec.Struct, frozen=True, gc=False):
    """Below which amount, for issuers of which countries, a payment may go without authentication."""

    below_minor: int
    countries: frozenset[str]
    bound: BoundRule


class Counter(msgspec.Struct, frozen=True, gc=False):
    """How many low value payments, or how much in sum, an issuer lets pass between two authentications."""

    payments: int
    cumulated_minor: int
    bound: BoundRule


class Band(msgspec.Struct, frozen=True, gc=False):
    """Up to which amount a fraud rate allows the exemption of transaction risk analysis."""

    up_to_minor: int
    fraud_rate_basis_points: float
    countries: frozenset[str]
    bound: BoundRule


class Sca:
    """The rules on strong customer authentication of one day.

    Attributes
    ----------
    required, one_leg_out, merchant_initiated : Scope or None
        Where each ruling holds; None where none is in force.

    Raises
    ------
    RuleError
        Two rules in force speak of the same thing.
    """

    __slots__ = ("_bands", "_counters", "_low_values", "merchant_initiated", "one_leg_out", "required")

    def __init__(self, rules: Sequence[Rule], regions: Mapping[str, frozenset[str]]) -> None:
        rulings = {
            rule.ruling: Scope(regions[rule.region], rule.bound())
            for rule in _single(rules, AuthenticationRule, lambda rule: rule.ruling)
        }
        self.required = rulings.get("required")
        self.one_leg_out = rulings.get("one_leg_out")
        self.merchant_initiated = rulings.get("merchant_initiated")
        self._low_values = {
            rule.currency: LowValue(rule.below_minor, regions[rule.region], rule.bound())
            for rule in _single(rules, LowValueRule, lambda rule: rule.currency)
        }
        self._counters = {
            rule.currency: Counter(rule.payments, rule.cumulated_minor, rule.bound())
            for rule in _single(rules, CounterRule, lambda rule: rule.currency)
        }
        self._bands = _bands([rule for rule in rules if isinstance(rule, RiskAnalysisRule)], regions)

    def low_value(self, currency: str) -> LowValue | None:
        """Return the low value threshold of a currency."""
        return self._low_values.get(currency)

    def counter(self, currency: str) -> Counter | None:
        """Return how much of low value passes in a currency between two authentications."""
        return self._counters.get(currency)

    def bands(self, currency: str) -> tuple[Band, ...]:
        """Return the bands of transaction risk analysis of a currency, the smallest amount first."""
        return self._bands.get(currency, ())


def _single(rules: Iterable[Rule], kind: type[_R], key: Callable[[_R], str]) -> list[_R]:
    """Return the rules of a kind; two that speak of the same thing on the same days are refused."""
    found: dict[str, _R] = {}
    for rule in rules:
        if isinstance(rule, kind):
            other = found.setdefault(key(rule), rule)
            if other is not rule:
                what = f"{other.id} speaks of {key(rule)} on the same days; end one, or set enabled = false"
                raise RuleError(rule.id, what)
    return list(found.values())


def _bands(rules: list[RiskAnalysisRule], regions: Mapping[str, frozenset[str]]) -> dict[str, tuple[Band, ...]]:
    table: dict[str, tuple[Band, ...]] = {}
    for rule in sorted(rules, key=lambda rule: rule.up_to_minor):
        band = Band(rule.up_to_minor, rule.fraud_rate_basis_points, regions[rule.region], rule.bound())
        table[rule.currency] = (*table.get(rule.currency, ()), band)
    return table
