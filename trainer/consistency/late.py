"""Which questions may have seen another past than their moment says: what was reported late, or for a later moment.

A window of the offline plan sees what happened before the question; the store, what had been applied when it was read.
They are the same past but for events that happened before and came after, and events that were there already and
happened after. Only journalled events can be either. This module must not know a feature.
"""

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from features.offline.increments import key
from trainer.consistency.frames import APPLIED

Flags = npt.NDArray[np.bool_]

WRITE_US: Final = 250_000
"""How long after an answer (or a report) its write may still be under way, behind those of a busy moment."""

MOST_UNDER_WAY: Final = 32
"""With more writes under way than this nobody can say which of them a question has seen."""

_KEY: Final = "_key"
_TIMES: Final = ("occurred_at", "settled_at", "chargeback_at")


def suspects(asked: pl.DataFrame, history: pl.DataFrame, kind: str) -> tuple[Flags, Flags]:
    """Return for each question whether something of its entity came late, and whether something was ahead of it.

    Parameters
    ----------
    asked
        Rows in which the kind is asked about (``trainer.consistency.recompute.asked_of``).
    history
        From ``trainer.consistency.frames``.
    kind
        Of entity.
    """
    events = (
        history.filter(pl.col(APPLIED).is_not_null())
        .select(
            key(kind).alias(_KEY), pl.coalesce(pl.col(name).dt.timestamp("us") for name in _TIMES).alias("_at"), APPLIED
        )
        .filter(pl.col(_KEY).is_not_null())
        .sort("_at")
        .with_columns(
            pl.col(APPLIED).cum_max().over(_KEY).alias("_latest"),
            pl.col(APPLIED).cum_min(reverse=True).over(_KEY).alias("_soonest"),
        )
    )
    rows = asked.select("row", "at", "read", "answered", key(kind).alias(_KEY)).sort("at")
    was = rows.join_asof(
        events.select(_KEY, "_at", "_latest"),
        left_on="at",
        right_on="_at",
        by=_KEY,
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,
        coalesce=False,
    )
    comes = rows.join_asof(
        events.select(_KEY, "_at", "_soonest"),
        left_on="at",
        right_on="_at",
        by=_KEY,
        strategy="forward",
        check_sortedness=False,
        coalesce=False,
    )
    late = was.sort("row").select((pl.col("_latest") + WRITE_US > pl.col("read")).fill_null(value=False))
    ahead = comes.sort("row").select((pl.col("_soonest") < pl.col("answered")).fill_null(value=False))
    return late.to_series().to_numpy(), ahead.to_series().to_numpy()


def cuts(asked: pl.DataFrame, history: pl.DataFrame, kind: str) -> list[list[int]]:
    """Return for each question the moments up to which its entity's events may have been in the store when it was read.

    Writes reach the store in the order of their answers and reports, more or less: with n of them under way there are
    n + 1 such moments. The latest comes first.

    Parameters
    ----------
    asked, history, kind
        As in `suspects`.
    """
    events = history.filter(pl.col(APPLIED).is_not_null()).select(key(kind).alias(_KEY), APPLIED).drop_nulls()
    of_key = {name: np.sort(found[APPLIED].to_numpy()) for (name,), found in events.group_by(_KEY)}
    found = []
    for name, read, answered in asked.select(key(kind).alias(_KEY), "read", "answered").iter_rows():
        applied = of_key.get(name, np.empty(0, dtype=np.int64))
        first, last = np.searchsorted(applied, (read - WRITE_US, answered))
        found.append([*applied[first:last].tolist()[::-1], read - WRITE_US - 1])
    return found
