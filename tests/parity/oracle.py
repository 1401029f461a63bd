"""The naive definition of every feature of an entity: look at every event of the past, every time. Slow, obvious, tests only."""

import math
from dataclasses import dataclass
from typing import Any

from features.clock import SECOND
from features.decline import decline_class
from features.entity import FIELDS
from features.layout import LAYOUTS, Layout
from features.spec import FeatureSpec

# From the least to the greatest: of several results at one moment the greatest counts as the last.
SORTS = ("declined", "funds", "authenticate", "fix_data", "never", "technical", "approved")


@dataclass(frozen=True)
class Fact:
    """Something that became known of an attempt."""

    at: int
    what: str
    attempt: dict[str, Any]

    @property
    def sort(self) -> str:
        """What a result was."""
        status = self.attempt["status"]
        if status == "declined":
            return decline_class(self.attempt["card_network"], self.attempt["response_code"]) or "declined"
        return "technical" if status in ("error", "timeout") else status

    def counts(self, measure: str) -> int:
        """Return what the fact adds to a measure."""
        match self.what:
            case "attempt":
                return {"attempts": 1, "amount_minor": self.attempt["amount_minor"]}.get(measure, 0)
            case "result":
                is_declined = self.attempt["status"] == "declined" and measure == "declined"
                return int(measure == "results" or is_declined or (measure == self.sort and measure != "declined"))
            case _:
                return int(measure == "chargebacks")


def facts(rows: list[dict[str, Any]], kind: str, key: tuple[str | None, ...], now: int) -> list[Fact]:
    """Return what was known of an entity before `now`, as far as its kind counts it."""
    if None in key:
        return []
    own = [row for row in rows if tuple(row[name] for name in FIELDS[kind]) == key]
    found = [Fact(row["occurred_at"], "attempt", row) for row in own]
    found += [Fact(row["settled_at"], "result", row) for row in own]
    found += [Fact(row["chargeback_at"], "chargeback", row) for row in own if row["chargeback_at"] is not None]
    return [fact for fact in found if fact.at < now and any(fact.counts(name) for name in LAYOUTS[kind].measures)]


def window_start(layout: Layout, width: int, now: int) -> int:
    """Return the first microsecond of a window."""
    hop = min(ring.hop for ring in layout.rings if ring.reach >= width)
    return (now - width) // hop * hop


def expected(rows: list[dict[str, Any]], spec: FeatureSpec, row: dict[str, Any], now: int) -> float:
    """Return a feature of an entity of `row`, asked at `now`, by its definition."""
    kind, layout = spec.entity, spec.layout
    assert kind is not None
    key = tuple(row[name] for name in FIELDS[kind])
    known = facts(rows, kind, key, now)
    horizon = window_start(layout, layout.horizon, now)
    if not any(fact.at >= horizon for fact in known):
        return spec.default
    within = [fact for fact in known if fact.at >= window_start(layout, spec.width, now)]
    value = _VALUES[spec.operation](spec, row, known, within, now)
    return spec.default if value is None else value


def _sum(facts: list[Fact], measure: str) -> int:
    return sum(fact.counts(measure) for fact in facts)


def _count(spec: FeatureSpec, row: dict[str, Any], known: list[Fact], within: list[Fact], now: int) -> float | None:
    return float(_sum(within, spec.inputs[0]))


def _rate(spec: FeatureSpec, row: dict[str, Any], known: list[Fact], within: list[Fact], now: int) -> float | None:
    part, whole = (_sum(within, name) for name in spec.inputs)
    return part / whole if whole else None


def _relative(spec: FeatureSpec, row: dict[str, Any], known: list[Fact], within: list[Fact], now: int) -> float | None:
    amount, attempts = _sum(within, "amount_minor"), _sum(within, "attempts")
    return float(row["amount_minor"]) * float(attempts) / float(amount) if amount else None


def _distinct(spec: FeatureSpec, row: dict[str, Any], known: list[Fact], within: list[Fact], now: int) -> float | None:
    members = {fact.attempt[spec.inputs[0]] for fact in within if fact.what == "attempt"} - {None}
    return float(min(len(members), spec.layout.members))


def _since(spec: FeatureSpec, row: dict[str, Any], known: list[Fact], within: list[Fact], now: int) -> float | None:
    what = spec.inputs[0]
    times = [
        fact.at
        for fact in within
        if fact.what == what or (what == "approved" and fact.what == "result" and fact.sort == "approved")
    ]
    return (now - max(times)) / SECOND if times else None


def _last(spec: FeatureSpec, row: dict[str, Any], known: list[Fact], within: list[Fact], now: int) -> float | None:
    what = spec.inputs[0]
    relevant = [fact for fact in within if fact.what == ("attempt" if what == "amount_minor" else "result")]
    if not relevant:
        return None
    newest = max(fact.at for fact in relevant)
    last = [fact for fact in relevant if fact.at == newest]
    if what == "amount_minor":
        return float(max(fact.attempt["amount_minor"] for fact in last))
    return float(max((fact.sort for fact in last), key=SORTS.index) == what)


def _decayed(spec: FeatureSpec, row: dict[str, Any], known: list[Fact], within: list[Fact], now: int) -> float | None:
    if not any(fact.what == "result" for fact in within):
        return None
    results = [fact for fact in known if fact.what == "result"]
    newest = max(fact.at for fact in results)
    weighted = [(2.0 ** ((fact.at - newest) / spec.layout.half_life), fact.sort) for fact in results]
    whole = math.fsum(weight for weight, _ in weighted)
    return math.fsum(weight for weight, sort in weighted if sort == spec.inputs[0]) / whole


def _streak(spec: FeatureSpec, row: dict[str, Any], known: list[Fact], within: list[Fact], now: int) -> float | None:
    approvals = [fact.at for fact in known if fact.what == "result" and fact.attempt["status"] == "approved"]
    declines = [fact.at for fact in within if fact.what == "result" and fact.attempt["status"] == "declined"]
    since = max(approvals, default=-1)
    return float(min(sum(at > since for at in declines), spec.layout.streak))


_VALUES = {
    "count": _count,
    "rate": _rate,
    "mean": _rate,
    "relative": _relative,
    "distinct": _distinct,
    "since": _since,
    "last": _last,
    "decayed": _decayed,
    "streak": _streak,
}
