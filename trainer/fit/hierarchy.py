"""The hierarchy of a bundle, learnt by empirical Bayes: how far groups differ, and how far each one is to be believed.

Level by level, each group's offset in log-odds from what the levels above expect is found by Newton's method under a normal
prior of mean 0. The prior's variance is what the groups themselves show beyond chance (DerSimonian and Laird 1986, the method
of moments): where groups do not differ every offset is 0, where they do a large group keeps nearly all of its own.

This module must not know any model.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from contracts.hierarchy import Hierarchy, Level
from features.hierarchy import log_odds
from trainer.fit.dataset import Rows

LEVELS: Final[tuple[tuple[str, ...], ...]] = (
    ("card_network",),
    ("card_network", "issuer_country"),
    ("card_network", "issuer_country", "card_bin"),
    ("merchant_id",),
)
"""From the whole down. A merchant stands across the others: its customers come with every BIN."""

LEAST_SPREAD: Final = 0.05
"""Of a level whose groups do not differ beyond chance, log-odds: a group that nobody has seen may still."""

ASSUMED_SPREAD: Final = 0.5
ASSUMED_GROUPS: Final = 3
"""What is assumed of processors' spread, and how many seen ones that is worth: a handful tells little of how far the next may be
off, and a doubt that is too small would never try it."""
_STEPS: Final = 6

Floats = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]


def learn(train: Rows, overall: float) -> Hierarchy | None:
    """Return the hierarchy of the first attempts that a model learns from; None without any.

    Parameters
    ----------
    train
        Rows of the approval model.
    overall
        Its overall rate, already shrunk towards what is assumed.
    """
    first = (train.frame["attempt"] == 1).to_numpy()
    frame, labels = train.frame.filter(first), train.labels[first].astype(np.float64)
    if frame.is_empty():
        return None
    rate = float(np.clip(labels.mean(), 1e-4, 1 - 1e-4)) if 0 < labels.sum() < len(labels) else overall
    odds = np.full(len(labels), log_odds(rate))
    levels = []
    for fields in LEVELS:
        names, of_group, codes, spread = _level(frame, fields, labels, odds)
        odds = odds + of_group[codes]
        levels.append(Level(fields=fields, spread=max(spread, LEAST_SPREAD), offsets=_named(names, of_group)))
    names, of_group, _, spread = _level(frame, ("processor",), labels, odds)
    seen = sum(1 for name in names if name)
    spread = ((seen * spread**2 + ASSUMED_GROUPS * ASSUMED_SPREAD**2) / (seen + ASSUMED_GROUPS)) ** 0.5
    return Hierarchy(
        rate=rate,
        levels=tuple(levels),
        # Of a processor that was seen, 0 is knowledge as well: all of them stay.
        processors={name: float(of_group[place]) for place, name in enumerate(names) if name},
        processor_spread=spread,
    )


def _level(
    frame: pl.DataFrame, fields: Sequence[str], labels: Floats, odds: Floats
) -> tuple[list[str], Floats, Groups, float]:
    joined = frame.select(pl.concat_str([pl.col(name).fill_null("") for name in fields], separator="|"))[:, 0]
    return shrunk(joined, labels, odds)


def shrunk(keys: pl.Series, labels: Floats, odds: Floats) -> tuple[list[str], Floats, Groups, float]:
    """Return the groups of one level and how far each is off.

    Parameters
    ----------
    keys
        The group of each row, shape (n,).
    labels, odds
        0 or 1, and what is expected of each row so far, log-odds; shape (n,).

    Returns
    -------
    tuple
        Names of the groups, their offsets (g,), each row's group (n,), and the spread of the true offsets.
    """
    names = keys.unique().sort()
    codes = keys.replace_strict(names, pl.int_range(len(names), eager=True), return_dtype=pl.Int64).to_numpy()
    spread = _spread(codes, len(names), labels, odds)
    return names.to_list(), _offsets(codes, len(names), labels, odds, spread), codes, spread


def _spread(codes: Groups, groups: int, labels: Floats, odds: Floats) -> float:
    """Return the standard deviation of the groups' true offsets that explains how far they are apart beyond chance."""
    p = 1.0 / (1.0 + np.exp(-odds))
    surplus = np.bincount(codes, labels - p, groups)
    weight = np.maximum(np.bincount(codes, p * (1.0 - p), groups), 1e-9)
    offset = surplus / weight
    middle = (weight * offset).sum() / weight.sum()
    apart = float((weight * (offset - middle) ** 2).sum())
    scale = float(weight.sum() - (weight**2).sum() / weight.sum())
    return float(np.sqrt(max(apart - (groups - 1), 0.0) / scale)) if scale > 1e-9 else 0.0


def _offsets(codes: Groups, groups: int, labels: Floats, odds: Floats, spread: float) -> Floats:
    """Return each group's most probable offset under a normal prior of that spread."""
    offsets = np.zeros(groups)
    if spread <= 0.0:
        return offsets
    precision = 1.0 / spread**2
    for _ in range(_STEPS):
        p = 1.0 / (1.0 + np.exp(-(odds + offsets[codes])))
        slope = np.bincount(codes, labels - p, groups) - offsets * precision
        curvature = np.bincount(codes, p * (1.0 - p), groups) + precision
        # A step of more than 1 is past where the curvature tells anything.
        offsets = offsets + np.clip(slope / curvature, -1.0, 1.0)
    return offsets


def _named(names: Sequence[str], offsets: Floats) -> dict[str, float]:
    return {name: float(offset) for name, offset in zip(names, offsets, strict=True)}
