"""The rules in force on one day, compiled for lookup.

This module must not know a date, nor what is done with what a decline means.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Final, Literal, get_args

import msgspec

from contracts.decision import BoundRule, Reason
from contracts.inputs import Credential
from features.clock import MINUTE, SECOND
from service.ledger import Limit as Counted
from service.policy.errors import RuleError
from service.policy.rule import (
    AdviceMapping,
    Blame,
    DeclineClass,
    DeclineRule,
    LimitRule,
    Rule,
    Treated,
    TreatmentRule,
)
from service.policy.sca import Sca

Initiator = Literal["customer", "merchant"]
GRACE_US: Final = 10 * MINUTE
"""Every window is counted this much longer, so that an attempt sent up to so late after its time breaks no limit."""
MOST_KEPT: Final = 4096
"""The most that is remembered of what was looked up: networks and countries are named by whoever asks."""
_ANY: Final = "*"
_NO_ADVICE: Final = ""

_Key = tuple[str, str | None, str | None, str | None]
"""(network, code, advice, reason); what a rule does not speak of is None."""


class Meaning(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What one decline rule says, as it is used."""

    decline_class: DeclineClass | None
    blame: Blame
    category: int | None
    wait_seconds: int
    same_processor: bool
    cascade: bool | None
    send_as: Credential | None
    bound: BoundRule


class Treatment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What follows from a class of decline."""

    verdict: Treated
    wait_seconds: int
    within_seconds: int | None
    cascade: bool
    told: Reason | None
    bound: BoundRule


class Limit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A reattempt limit, for whom it holds, and as a ledger counts it (`counted`, whatever the amount)."""

    limit: int
    window_seconds: int
    resets_on_approval: bool
    same_amount: bool
    countries: frozenset[str] | None
    initiator: Initiator | None
    counted: Counted
    bound: BoundRule

    def of(self, amount_minor: int) -> Counted:
        """Return the limit as a ledger counts it for an attempt of this amount."""
        if not self.same_amount:
            return self.counted
        return Counted(self.counted.window_us, self.counted.most, amount_minor, self.counted.resets)


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a decline means: the rule that gave its class, and every rule that had a say."""

    decline_class: DeclineClass
    blame: Blame
    category: int | None
    wait_seconds: int
    same_processor: bool
    cascade: bool | None
    send_as: Credential | None
    rules: tuple[BoundRule, ...]


_Row = tuple[frozenset[str] | None, Initiator | None, Meaning]


class RuleBook:
    """The rules of one day.

    A decline is read in this order: a stated reason that overrides codes, unless they forbid for good and it does not doubt
    the outcome; the code together with the advice; the advice, unless the code alone forbids for good or doubts the
    outcome; the code, the network's own meaning before the general one; the stated reason; the network's rule for
    unlisted codes; the general one. Of several rules on the same key the one
    for the card's region wins over the one for everywhere, then the one for the initiator.

    Raises
    ------
    RuleError
        Two rules say something of the same decline, or a class of decline has no treatment.
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        regions: Mapping[str, frozenset[str]],
        aliases: Mapping[str, str],
        mappings: Iterable[AdviceMapping],
    ) -> None:
        rules = tuple(rules)
        self._aliases = dict(aliases)
        self._mapped = {(entry.processor, entry.advice): entry.means for entry in mappings}
        declines = [rule for rule in rules if isinstance(rule, DeclineRule)]
        self._rows = _compile(declines, regions)
        self._overriding = frozenset(rule.decline_reasons[0] for rule in declines if rule.overrides_code)
        self._treatments = _treatments(rule for rule in rules if isinstance(rule, TreatmentRule))
        untreated = [
            f"treatment.{decline_class}.{initiator}"
            for decline_class in get_args(DeclineClass)
            for initiator in get_args(Initiator)
            if (decline_class, initiator) not in self._treatments
        ]
        if declines and untreated:
            raise RuleError(untreated[0], f"expected a treatment in force whenever {declines[0].id} is")
        self._limits = _limits((rule for rule in rules if isinstance(rule, LimitRule)), regions)
        self._bindings: dict[tuple[str, str, Initiator], tuple[Limit, ...]] = {}
        self.sca = Sca(rules, regions)

    def network(self, name: str) -> str:
        """Return the name under which rules know a network."""
        lower = name.lower()
        return self._aliases.get(lower, lower)

    def read(
        self,
        network: str,
        *,
        processor: str,
        code: str | None,
        advice: str | None,
        reason: str | None,
        country: str,
        initiator: Initiator,
    ) -> Reading | None:
        """Say what a decline means; None only if no rule at all speaks of it.

        Parameters
        ----------
        network : str
            As `network` returns it.
        """
        stated = None
        if reason is not None:
            reason = reason.lower()
            if reason in self._overriding:
                stated = self._own_or_any(network, None, reason, country, initiator)
        if stated is not None and stated.decline_class == "unknown_outcome":
            return _reading(stated)
        if advice is not None:
            advice = self._mapped.get((processor, advice), advice)
        reading = self._coded(network, code, advice, reason, country, initiator)
        if stated is not None and (reading is None or reading.decline_class != "never"):
            return _reading(stated)
        return reading

    def _coded(
        self, network: str, code: str | None, advice: str | None, reason: str | None, country: str, initiator: Initiator
    ) -> Reading | None:
        """Read code and advice, the reason where there is no code."""
        adviced = _NO_ADVICE if advice is None else advice
        if code is not None:
            both = self._find((network, code, adviced, None), country, initiator)
            if both is not None:
                return _reading(both)
        advised = self._find((network, None, adviced, None), country, initiator)
        coded = self._own_or_any(network, code, None if code is not None else reason, country, initiator)
        if coded is None:
            if advised is not None and advised.decline_class is not None:
                return _reading(advised)
            coded = self._own_or_any(network, _ANY, None, country, initiator)
            if coded is None:
                return None
        if advised is None:
            return _reading(coded)
        # What forbids for good is not lifted by an advice, nor is doubt about what became of the attempt.
        if advised.decline_class is None or coded.decline_class in ("never", "unknown_outcome"):
            return _reading(coded, advised)
        return _reading(advised, coded)

    def treatment(self, decline_class: DeclineClass, initiator: Initiator) -> Treatment:
        """Return what follows from a class of decline."""
        return self._treatments[(decline_class, initiator)]

    def limits(self, network: str) -> tuple[Limit, ...]:
        """Return the attempt limits of a network, in the order of their files."""
        return self._limits.get(network, ())

    def binding(self, network: str, country: str, initiator: Initiator) -> tuple[Limit, ...]:
        """Return those limits of a network that hold for an issuer's country and an initiator."""
        limits = self._limits.get(network)
        if limits is None:
            return ()
        key = (network, country, initiator)
        found = self._bindings.get(key)
        if found is None:
            if len(self._bindings) >= MOST_KEPT:
                self._bindings.clear()
            found = self._bindings[key] = tuple(
                [
                    limit
                    for limit in limits
                    if (limit.initiator is None or limit.initiator == initiator)
                    and (limit.countries is None or country in limit.countries)
                ]
            )
        return found

    def _own_or_any(
        self, network: str, code: str | None, reason: str | None, country: str, initiator: Initiator
    ) -> Meaning | None:
        """Find the network's own meaning of a code or reason, else the general one."""
        own = self._find((network, code, None, reason), country, initiator)
        return own if own is not None else self._find((_ANY, code, None, reason), country, initiator)

    def _find(self, key: _Key, country: str, initiator: Initiator) -> Meaning | None:
        for countries, who, meaning in self._rows.get(key, ()):
            if (countries is None or country in countries) and (who is None or who == initiator):
                return meaning
        return None


def _reading(main: Meaning, other: Meaning | None = None) -> Reading:
    decline_class = main.decline_class
    assert decline_class is not None
    return Reading(
        decline_class=decline_class,
        blame=main.blame,
        category=main.category if other is None or main.category is not None else other.category,
        wait_seconds=main.wait_seconds if other is None else max(main.wait_seconds, other.wait_seconds),
        same_processor=main.same_processor,
        cascade=main.cascade,
        send_as=main.send_as,
        rules=(main.bound,) if other is None else (main.bound, other.bound),
    )


def _key(rule: DeclineRule) -> _Key:
    advice = rule.advices[0] if rule.advices else (_NO_ADVICE if rule.without_advice else None)
    reason = rule.decline_reasons[0] if rule.decline_reasons else None
    return (rule.network, rule.codes[0] if rule.codes else None, advice, reason)


def _compile(rules: Iterable[DeclineRule], regions: Mapping[str, frozenset[str]]) -> dict[_Key, tuple[_Row, ...]]:
    grouped: dict[_Key, list[DeclineRule]] = {}
    for rule in rules:
        grouped.setdefault(_key(rule), []).append(rule)
    rows: dict[_Key, tuple[_Row, ...]] = {}
    for key, group in grouped.items():
        for one, two in combinations(group, 2):
            if one.initiator == two.initiator and _overlap(one.region, two.region, regions):
                what = f"{two.id} speaks of the same decline on the same days; end one, or set enabled = false"
                raise RuleError(one.id, what)
        group.sort(key=lambda rule: (rule.region is None, rule.initiator is None))
        rows[key] = tuple(
            (
                None if rule.region is None else regions[rule.region],
                rule.initiator,
                Meaning(
                    decline_class=rule.decline_class,
                    blame=rule.blame,
                    category=rule.category,
                    wait_seconds=rule.wait_seconds,
                    same_processor=rule.same_processor,
                    cascade=rule.cascade,
                    send_as=rule.send_as,
                    bound=rule.bound(),
                ),
            )
            for rule in group
        )
    return rows


def _overlap(one: str | None, two: str | None, regions: Mapping[str, frozenset[str]]) -> bool:
    if one is None or two is None:
        return one is two
    return bool(regions[one] & regions[two])


def _treatments(rules: Iterable[TreatmentRule]) -> dict[tuple[DeclineClass, Initiator], Treatment]:
    table: dict[tuple[DeclineClass, Initiator], Treatment] = {}
    for rule in rules:
        key = (rule.decline_class, rule.initiator)
        if key in table:
            what = f"{table[key].bound.id} treats the same class on the same days; end one, or set enabled = false"
            raise RuleError(rule.id, what)
        table[key] = Treatment(
            verdict=rule.verdict,
            wait_seconds=rule.wait_seconds,
            within_seconds=rule.within_seconds,
            cascade=rule.cascade,
            told=Reason(code=rule.tells, detail=rule.note) if rule.tells else None,
            bound=rule.bound(),
        )
    return table


def _limits(rules: Iterable[LimitRule], regions: Mapping[str, frozenset[str]]) -> dict[str, tuple[Limit, ...]]:
    table: dict[str, tuple[Limit, ...]] = {}
    for rule in rules:
        limit = Limit(
            limit=rule.limit,
            window_seconds=rule.window_seconds,
            resets_on_approval=rule.resets_on_approval,
            same_amount=rule.same_amount,
            countries=None if rule.region is None else regions[rule.region],
            initiator=rule.initiator,
            counted=Counted(rule.window_seconds * SECOND + GRACE_US, rule.limit, None, rule.resets_on_approval),
            bound=rule.bound(),
        )
        table[rule.network] = (*table.get(rule.network, ()), limit)
    return table
