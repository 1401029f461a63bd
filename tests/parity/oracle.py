"""The naive definition of every window: look at every event of the past, every time. Slow, obvious, for tests only."""

from dataclasses import dataclass

from features.layout import LAYOUTS, MEASURES


@dataclass(frozen=True)
class Event:
    """One attempt with everything that ever became of it; times in microseconds."""

    keys: dict[str, str | None]
    decided_at: int
    amount_minor: int
    settled_at: int
    status: str
    chargeback_at: int | None


def sums(events: list[Event], entity: str, key: str | None, width: int, hop: int, now: int) -> dict[str, int]:
    """Return the measures of `entity` over [floor((now - width) / hop) * hop, now)."""
    start = (now - width) // hop * hop
    total = dict.fromkeys(MEASURES, 0)
    if key is None:
        return total
    for event in events:
        if event.keys[entity] != key:
            continue
        if start <= event.decided_at < now:
            total["events"] += 1
            total["attempts"] += 1
            total["amount_minor"] += event.amount_minor
        if start <= event.settled_at < now:
            total["events"] += 1
            total["results"] += 1
            total["approved"] += event.status == "approved"
            total["technical"] += event.status in {"error", "timeout"}
        if event.chargeback_at is not None and start <= event.chargeback_at < now:
            total["events"] += 1
            total["chargebacks"] += 1
    return total


def last_attempt(events: list[Event], entity: str, key: str | None, now: int) -> int | None:
    """Return the latest attempt of an entity before `now`."""
    times = [event.decided_at for event in events if event.keys[entity] == key and event.decided_at < now]
    return max(times, default=None)


def was_seen(events: list[Event], entity: str, key: str | None, now: int) -> bool:
    """Tell whether anything of an entity became known in its longest window."""
    layout = LAYOUTS[entity]
    return sums(events, entity, key, layout.horizon, layout.rings[-1].hop, now)["events"] > 0
