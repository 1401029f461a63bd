"""The proof of a backfill: what the store holds now, read back, gives the vectors that the history gives.

This module must not know how the states were written.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.payment import Payment
from features.assemble import Plan
from features.catalog import CANDIDATE, CATALOG, PAYMENT
from features.encoding import neutral
from features.entity import CANDIDATE_KINDS, FIELDS, PAYMENT_KINDS, key
from features.offline.plan import compute

SPECS: Final = (*PAYMENT, *CANDIDATE)
DECAYED_TOLERANCE: Final = 1e-6
"""Decayed sums are added up in another order: the rates of two engines agree so far, relative."""

_OF_THE_LATEST: Final = 20
"""Payments are sampled from so many times as many of the latest attempts."""

Fetch = Callable[[Iterable[tuple[str, str]]], Iterator[bytes | None]]
Floats = npt.NDArray[np.float32]


class Checked(NamedTuple):
    """What was compared, and what was not equal.

    Attributes
    ----------
    states, wrong_states
        States read back, by kind, and the (kind, key) that were not what was written.
    vectors, wrong_features
        Vectors compared, and the features that differ with how often and an example of both values.
    """

    states: dict[str, int]
    wrong_states: list[tuple[str, str]]
    vectors: int
    wrong_features: dict[str, tuple[int, float, float]]

    @property
    def is_equal(self) -> bool:
        """True when nothing differs."""
        return not self.wrong_states and not self.wrong_features

    def lines(self) -> Iterator[str]:
        """Yield what was found, for a person."""
        count = sum(self.states.values())
        kinds = ", ".join(f"{kind} {number}" for kind, number in self.states.items())
        if self.wrong_states:
            kind, name = self.wrong_states[0]
            yield f"{len(self.wrong_states):,} of {count:,} states read back are not what was written, such as {kind} {name}"
        else:
            yield f"checked: {count:,} states read back are what was written ({kinds})"
        if self.wrong_features:
            yield f"the vectors of {self.vectors:,} payments differ from those of the history in these features:"
            for name, (times, online, offline) in self.wrong_features.items():
                yield f"  {name}: {times} times, such as {online:g} from the store and {offline:g} from the history"
        elif self.vectors:
            yield (
                f"checked: {len(SPECS)} features of {self.vectors:,} payments asked as of now are the same from the store "
                f"and from the history, bit for bit (decayed rates: within {DECAYED_TOLERANCE:.0e})"
            )


def check(
    history: pl.LazyFrame, now: int, fetch: Fetch, sample: Mapping[str, Mapping[str, bytes]], payments: int
) -> Checked:
    """Read a sample back from the store, and hold the store's vectors to the history's.

    Parameters
    ----------
    history
        The canonical history with `settled_at` filled.
    now
        As of when the states are, microseconds.
    fetch
        Reads (kind, key) from the store.
    sample
        States by kind and key as they were written.
    payments
        How many payments are asked about, at `now`, with the fields of recent attempts.
    """
    names = [(kind, name) for kind, found in sample.items() for name in found]
    read = list(fetch(names))
    wrong = [name for name, blob in zip(names, read, strict=True) if blob != sample[name[0]][name[1]]]
    asked = _recent(history, now, payments)
    wrong_features = _differences(_online(asked, now, fetch), _offline(asked, history)) if len(asked) else {}
    return Checked({kind: len(found) for kind, found in sample.items()}, wrong, len(asked), wrong_features)


def _recent(history: pl.LazyFrame, now: int, payments: int) -> pl.DataFrame:
    """Return recent attempts as payments asked about at `now`, spread over the latest by a hash of their ids."""
    before = history.filter(pl.col("occurred_at").dt.timestamp("us") < now)
    latest = before.top_k(payments * _OF_THE_LATEST, by="occurred_at")
    spread = latest.sort(pl.struct("payment_id", "attempt").hash(seed=17), "payment_id", "attempt").head(payments)
    return spread.with_columns(at=pl.lit(now, dtype=pl.Int64)).collect().with_row_index("row")


def _online(asked: pl.DataFrame, now: int, fetch: Fetch) -> Floats:
    """Return the vectors that the service would make of the states in the store."""
    plan = Plan(_neutral())
    rows = asked.to_dicts()
    kinds = (*PAYMENT_KINDS, *CANDIDATE_KINDS)
    keys = [[key(*(row[field] for field in FIELDS[kind])) for kind in kinds] for row in rows]
    wanted = {(kind, name) for named in keys for kind, name in zip(kinds, named, strict=True) if name is not None}
    ordered = sorted(wanted)
    blobs: dict[tuple[str, str | None], bytes | None] = dict(zip(ordered, fetch(ordered), strict=True))
    vectors = []
    for row, named in zip(rows, keys, strict=True):
        states = [blobs.get((kind, name)) for kind, name in zip(kinds, named, strict=True)]
        own, candidate = states[: len(PAYMENT_KINDS)], states[len(PAYMENT_KINDS) :]
        vectors.append(plan.rows(_payment(row), now, own, (row["processor"] or "",), (candidate,)))
    return np.concatenate(vectors)


def _payment(row: dict[str, Any]) -> Payment:
    # A history may lack what a request must have; nothing here is sent to anybody.
    return Payment(**{name: row[name] for name in Payment.__struct_fields__ if name in row})


def _offline(asked: pl.DataFrame, history: pl.LazyFrame) -> Floats:
    found = compute(asked.lazy(), history, _neutral(), SPECS).sort("row")
    values: Floats = found.select(f"f:{spec.name}" for spec in SPECS).collect().to_numpy()
    return values


def _neutral() -> dict[str, Any]:
    """Return encodings that know nothing: what they would know is not in the store."""
    return {spec.name: neutral(0.5) for spec in CATALOG if spec.target is not None}


def _differences(online: Floats, offline: Floats) -> dict[str, tuple[int, float, float]]:
    """Return the features that differ, with how often and the values of the first time."""
    found = {}
    for column, spec in enumerate(SPECS):
        left, right = np.ascontiguousarray(online[:, column]), np.ascontiguousarray(offline[:, column])
        if spec.operation == "decayed":
            differs = ~np.isclose(left, right, rtol=DECAYED_TOLERANCE, atol=0.0)
        else:
            differs = left.view(np.uint32) != right.view(np.uint32)
        if differs.any():
            first = int(np.argmax(differs))
            found[spec.name] = (int(differs.sum()), float(left[first]), float(right[first]))
    return found
