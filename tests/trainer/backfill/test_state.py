"""Backfilled states are the states that living through the history would have left."""

from features.clock import DAY
from features.increment import (
    ENTITIES,
    ENTITY_COLUMN,
    attempt_increment,
    chargeback_increment,
    result_increment,
)
from features.layout import LAYOUTS
from features.state import add
from tests.parity.test_parity import dense, frame
from trainer.backfill.state import states


def test_a_backfilled_state_is_byte_for_byte_the_lived_one() -> None:
    rows = dense(800, 4)
    now = max(row["occurred_at"] for row in rows) + DAY
    lived: dict[tuple[str, str], bytes] = {}
    newest: dict[tuple[str, str], int] = {}
    for row in rows:
        increments = [
            attempt_increment(row["occurred_at"], row["amount_minor"]),
            result_increment(row["settled_at"], row["status"]),
        ]
        if row["chargeback_at"] is not None:
            increments.append(chargeback_increment(row["chargeback_at"]))
        for entity in ENTITIES:
            key = row[ENTITY_COLUMN[entity]]
            for increment in increments:
                if key is not None and increment.at < now:
                    lived[entity, key] = add(LAYOUTS[entity], lived.get((entity, key)), increment)
                    newest[entity, key] = max(newest.get((entity, key), 0), increment.at)
    backfilled = {(kind, key): blob for kind, key, blob in states(frame(rows), now)}
    still_seen = {entity: at for entity, at in newest.items() if at >= now - LAYOUTS[entity[0]].ttl_seconds * 1_000_000}
    assert len(still_seen) > 5
    assert backfilled == {entity: lived[entity] for entity in still_seen}
