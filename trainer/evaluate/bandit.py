"""Open Bandit files: recommendations that were logged with their true propensities (Saito et al. 2020).

A CSV, plain or gzipped: `timestamp`, `item_id` (the action), `position`, `click` (the reward), `propensity_score` and what is
known of the user. The items of a position are the candidates. This module must not know how a log is judged.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from trainer.errors import EvaluateError
from trainer.evaluate.log import Flags, Log

REQUIRED: Final = ("timestamp", "item_id", "position", "click", "propensity_score")
_USER: Final = "user_feature_"


class Bandit(NamedTuple):
    """One file: its log, whether each recommendation was clicked, and what a model of the clicks may look at."""

    log: Log
    clicked: Flags
    context: pl.DataFrame


def read_bandit(path: Path) -> Bandit:
    """Read a file of logged recommendations.

    Raises
    ------
    EvaluateError
        When it cannot be read, or is no such file.
    """
    try:
        frame = pl.read_csv(path, infer_schema_length=None)
    except (OSError, pl.exceptions.PolarsError) as error:
        msg = f"{path} cannot be read as a CSV of logged recommendations: {str(error).splitlines()[0]}"
        raise EvaluateError(msg) from error
    missing = [name for name in REQUIRED if name not in frame.columns]
    if missing:
        msg = f"expected {path} to have the columns {', '.join(REQUIRED)}; {', '.join(missing)} missing"
        raise EvaluateError(msg)
    empty = [name for name in REQUIRED if frame[name].null_count()]
    if empty or frame.is_empty():
        msg = f"expected {path} to have rows with {empty[0] if empty else REQUIRED[0]} in each, some have none"
        raise EvaluateError(msg)
    if not frame["click"].is_in([0, 1]).all():
        msg = f"expected every click in {path} to be 0 or 1"
        raise EvaluateError(msg)
    items = frame["item_id"].unique().sort()
    taken = frame["item_id"].replace_strict(items, list(range(len(items))), return_dtype=pl.Int64).to_numpy()
    position = frame["position"].rank("dense").to_numpy().astype(np.int64) - 1
    shown = np.zeros((int(position.max()) + 1, len(items)), dtype=np.bool_)
    shown[position, taken] = True
    user = [name for name in frame.columns if name.startswith(_USER)]
    # What was shown at one moment was shown to one visitor.
    visit = frame["timestamp"].rank("dense").to_numpy().astype(np.int64)
    clicked = frame["click"].to_numpy() == 1
    log = Log(
        actions=tuple(str(item) for item in items),
        taken=taken,
        propensity=frame["propensity_score"].cast(pl.Float64).to_numpy(),
        reward=clicked.astype(np.float64),
        payment=visit,
        offered=shown[position],
    )
    return Bandit(log, clicked, frame.select(pl.col("position").cast(pl.String), *user))
