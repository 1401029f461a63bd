"""All rules, read once from TOML files and checked; `at` gives those in force on a day.

This module must not know what a rule is used for.
"""

import hashlib
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from service.policy.errors import RuleError
from service.policy.rule import (
    AdviceMapping,
    AuthenticationRule,
    CounterRule,
    DeclineRule,
    LimitRule,
    LowValueRule,
    Network,
    Region,
    RiskAnalysisRule,
    Rule,
    Switch,
    TreatmentRule,
)
from service.policy.rulebook import RuleBook

FOLDER: Final = Path(__file__).parent / "rules"

Entry = (
    DeclineRule
    | TreatmentRule
    | LimitRule
    | AuthenticationRule
    | LowValueRule
    | CounterRule
    | RiskAnalysisRule
    | Region
    | Network
    | AdviceMapping
)
_TABLES: Final[dict[str, type[Entry | Switch]]] = {
    "decline": DeclineRule,
    "treatment": TreatmentRule,
    "limit": LimitRule,
    "authentication": AuthenticationRule,
    "low_value": LowValueRule,
    "counter": CounterRule,
    "risk_analysis": RiskAnalysisRule,
    "region": Region,
    "network": Network,
    "advice_mapping": AdviceMapping,
    "switch": Switch,
}
_E = TypeVar("_E", bound=Entry)


class Rules:
    """Every rule known, whenever it holds.

    Attributes
    ----------
    fingerprint : str
        Twelve hexadecimal digits of a hash over all rules, whatever the order of their files.
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        ordered = [entries[key] for key in sorted(entries)]
        self.fingerprint = hashlib.blake2b(msgspec.json.encode(ordered), digest_size=6).hexdigest()
        self._entries = tuple(entries.values())
        self._regions = _countries(self.of(Region))
        self._aliases = _aliases(self.of(Network))
        rules = [entry for entry in self._entries if isinstance(entry, Rule) and entry.enabled]
        for rule in rules:
            named = [getattr(rule, "region", None)]
            if isinstance(rule, LimitRule):
                named += [fee.region for fee in rule.fees]
            for region in named:
                if region is not None and region not in self._regions:
                    raise RuleError(rule.id, f"expected one of the regions {sorted(self._regions)}, got {region!r}")
        self._changes = sorted(
            {rule.effective_from for rule in rules}
            | {rule.effective_to for rule in rules if rule.effective_to is not None}
        )
        self._books: dict[int, RuleBook] = {}
        # Compiled once here, so that a contradiction on any day is known at start and not on that day.
        for change in self._changes:
            self.at(change)

    @classmethod
    def load(cls, folder: Path = FOLDER, override: Path | None = None) -> "Rules":
        """Read every ``*.toml`` of a folder, then a shop's own file.

        Parameters
        ----------
        folder : Path
            Where the rule files are.
        override : Path, optional
            A file whose entries replace those of the same id, or are added; a ``[[switch]]`` in it has a shipped rule
            followed or not.

        Raises
        ------
        RuleError
            A file cannot be read, says something unknown, repeats an id, orders its dates wrongly, names an unknown
            region, switches what is not there, or two rules in force on the same day say different things of the same
            decline.
        """
        entries: dict[str, Entry] = {}
        files: dict[str, str] = {}
        paths = sorted(folder.glob("*.toml"))
        if not paths:
            raise RuleError(str(folder), "expected rule files (*.toml), found none")
        for path in paths:
            for where, key, entry in _read(path):
                if isinstance(entry, Switch):
                    raise RuleError(where, "expected a switch in a shop's own file only: set enabled where the rule is")
                if key in entries:
                    raise RuleError(path.name, f"the id {entry.id!r} is taken already")
                entries[key], files[entry.id] = entry, path.name
        if override is not None:
            _lay_over(entries, files, override)
        try:
            return cls(entries)
        except RuleError as exc:
            file = files.get(exc.where)
            if file is None:
                raise
            where = f"{file}: {exc.where}"
            raise RuleError(where, exc.what) from exc

    def at(self, day: date) -> RuleBook:
        """Return the rules in force on a day, compiled; days between two changes share one book."""
        epoch = bisect_right(self._changes, day)
        book = self._books.get(epoch)
        if book is None:
            in_force = [
                entry
                for entry in self._entries
                if isinstance(entry, Rule)
                and entry.enabled
                and entry.effective_from <= day
                and (entry.effective_to is None or day < entry.effective_to)
            ]
            book = RuleBook(in_force, self._regions, self._aliases, self.of(AdviceMapping))
            self._books[epoch] = book
        return book

    def network(self, name: str) -> str:
        """Return the name under which rules know a network, whatever the day."""
        lower = name.lower()
        return self._aliases.get(lower, lower)

    def countries(self, region: str) -> frozenset[str]:
        """Return the countries of a region; none if there is no such region."""
        return self._regions.get(region, frozenset())

    def between(self, first: date, last: date) -> tuple[tuple[date, RuleBook], ...]:
        """Return the books that come into force after the day `first`, up to the day `last`, each with its first day."""
        later = self._changes[bisect_right(self._changes, first) : bisect_right(self._changes, last)]
        return tuple([(change, self.at(change)) for change in later])

    def of(self, kind: type[_E]) -> tuple[_E, ...]:
        """Return every entry of a kind, in the order of the files, whether it holds today or not."""
        return tuple(entry for entry in self._entries if isinstance(entry, kind))


def _lay_over(entries: dict[str, Entry], files: dict[str, str], override: Path) -> None:
    """Replace, add and switch what a shop's own file says."""
    own: dict[str, Entry] = {}
    switches: list[tuple[str, Switch]] = []
    for where, key, entry in _read(override):
        if isinstance(entry, Switch):
            switches.append((where, entry))
        elif key in own:
            raise RuleError(override.name, f"the id {entry.id!r} is taken already")
        else:
            own[key], files[entry.id] = entry, override.name
    entries.update(own)
    for where, switch in switches:
        names = (f"rule:{switch.id}", f"rule:{switch.id}.")
        keys = [key for key in entries if key == names[0] or key.startswith(names[1])]
        if not keys:
            raise RuleError(where, f"expected the id of a rule, got {switch.id!r}")
        for key in keys:
            entries[key] = msgspec.structs.replace(entries[key], enabled=switch.enabled)


def _read(path: Path) -> Iterable[tuple[str, str, Entry | Switch]]:
    """Yield the checked entries of a file: where each stands, its table and id, and itself."""
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as exc:
        raise RuleError(path.name, f"expected a readable TOML file: {exc}") from exc
    for table, rows in tables.items():
        if table not in _TABLES or not isinstance(rows, list):
            raise RuleError(path.name, f"expected tables of {sorted(_TABLES)}, got {table!r}")
        kind = "rule" if issubclass(_TABLES[table], Rule) else table
        for number, row in enumerate(rows, start=1):
            where = f"{path.name}: [[{table}]] {number}"
            if isinstance(row, dict) and isinstance(row.get("id"), str):
                where += f" ({row['id']})"
            for entry in _expand(_convert(row, _TABLES[table], where), where):
                yield where, f"{kind}:{entry.id}", entry


def _convert(row: Any, kind: type[Entry | Switch], where: str) -> Entry | Switch:
    try:
        entry = msgspec.convert(row, kind)
    except msgspec.ValidationError as exc:
        raise RuleError(where, str(exc)) from exc
    if isinstance(entry, Rule) and entry.effective_to is not None and entry.effective_to <= entry.effective_from:
        what = f"expected effective_to after {entry.effective_from}, got {entry.effective_to}"
        raise RuleError(where, what)
    return entry


def _expand(entry: Entry | Switch, where: str) -> Iterable[Entry | Switch]:
    """Take a decline rule over several codes apart into one rule for each."""
    if not isinstance(entry, DeclineRule):
        yield entry
        return
    advised = bool(entry.advices) + entry.without_advice
    if bool(entry.codes or advised) + bool(entry.decline_reasons) != 1 or advised > 1:
        raise RuleError(where, "expected one of codes and advices, decline_reasons, or without_advice = true")
    if entry.decline_class is None and (entry.codes or not entry.advices):
        raise RuleError(where, "expected a class; only a rule on an advice code alone may do without")
    if entry.overrides_code and not entry.decline_reasons:
        raise RuleError(where, "overrides_code is for decline_reasons only")
    for code, advice, reason in product(
        entry.codes or (None,), entry.advices or (None,), entry.decline_reasons or (None,)
    ):
        named = [part for part in (code, advice, reason) if part is not None]
        yield msgspec.structs.replace(
            entry,
            id=".".join([entry.id, *named]),
            codes=() if code is None else (code,),
            advices=() if advice is None else (advice,),
            decline_reasons=() if reason is None else (reason,),
        )


def _countries(regions: Iterable[Region]) -> dict[str, frozenset[str]]:
    """Resolve which countries each region holds, its included regions' own countries with it."""
    own = {region.id: region for region in regions}
    resolved: dict[str, frozenset[str]] = {}
    for region in own.values():
        countries = set(region.countries)
        for name in region.includes:
            if name not in own or own[name].includes:
                raise RuleError(region.id, f"expected to include a region of countries, got {name!r}")
            countries.update(own[name].countries)
        resolved[region.id] = frozenset(countries)
    return resolved


def _aliases(networks: Iterable[Network]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for network in networks:
        for name in (network.id, *network.aliases):
            if name != name.lower() or name in aliases:
                raise RuleError(network.id, f"expected lower case aliases of one network each, got {name!r}")
            aliases[name] = network.id
    return aliases
