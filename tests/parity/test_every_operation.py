"""Every operation on every kind of entity that its layout allows, in the catalog or not yet: both engines and the definition."""

import random
import struct
from typing import Final

import numpy as np
import pytest

from features.entity import KINDS
from features.increment import CODES
from features.layout import DECAYED, LAYOUTS
from features.offline.windows import entity_features
from features.source import compiled
from features.spec import (
    SINCE,
    FeatureSpec,
    count,
    decayed,
    distinct,
    last,
    mean_amount,
    rate,
    relative_amount,
    since,
    streak,
)
from tests.parity.oracle import expected
from tests.parity.replay import TOLERANCE, Blobs, Matrix, in_order
from tests.parity.streams import Row, dense, history, questions, request

ROWS: Final = dense(300, 11, ties=0.5)
ASKED: Final = sorted(random.Random(4).sample(range(len(ROWS)), 25))


def possible(kind: str) -> list[FeatureSpec]:
    """Return a feature of every operation, input and ring of a kind."""
    layout = LAYOUTS[kind]
    widths = [ring.reach for ring in layout.rings]
    specs = [count(kind, name, width) for name in layout.measures for width in widths]
    specs += [rate(kind, name, "results", widths[0]) for name in layout.measures if name != "results"]
    if "amount_minor" in layout.measures:
        specs += [made(kind, width) for made in (mean_amount, relative_amount) for width in widths]
        specs.append(last(kind, "amount_minor"))
    specs += [distinct(kind, width) for width in widths if layout.distinct]
    specs += [since(kind, what) for what in SINCE if what != "attempt" or "attempts" in layout.measures]
    specs += [last(kind, code) for code in CODES]
    specs += [decayed(kind, part) for part in DECAYED[1:] if part in layout.measures]
    return specs + ([streak(kind)] if layout.streak else [])


def _unread(kind: str, blob: bytes) -> None:
    raise AssertionError(kind)


def online(kind: str, specs: list[FeatureSpec]) -> Matrix:
    rows_of = compiled("every", specs, (kind,), {}, _unread)
    blobs = Blobs()
    matrix = np.empty((len(ROWS), len(specs)), dtype=np.float32)
    for number, arriving in in_order(ROWS, random.Random(1)):
        blobs.apply(arriving)
        row: Row = ROWS[number]
        (packed,) = rows_of(
            request(row, number), row["occurred_at"], [blobs.read(row, [kind])], [row["processor"]], [0]
        )
        matrix[number] = struct.unpack(f"<{len(specs)}f", packed)
    return matrix


def _same(left: np.float32, right: np.float32, spec: FeatureSpec) -> bool:
    if spec.operation == "decayed":
        return bool(np.isclose(left, right, rtol=TOLERANCE, atol=1e-30))
    return left.tobytes() == right.tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_both_engines_give_what_the_definition_says(kind: str) -> None:
    specs = possible(kind)
    found = entity_features(questions(ROWS), history(ROWS), kind, specs).sort("row").collect()
    offline = found.select(f"f:{spec.name}" for spec in specs).to_numpy()
    served = online(kind, specs)
    for number in range(len(ROWS)):
        for column, spec in enumerate(specs):
            assert _same(offline[number, column], served[number, column], spec), (number, spec.name)
    for number in ASKED:
        row = ROWS[number]
        for column, spec in enumerate(specs):
            naive = np.float32(expected(ROWS, spec, row, row["occurred_at"]))
            assert _same(offline[number, column], naive, spec), (number, spec.name)
