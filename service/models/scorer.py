"""The four models of one bundle in memory: rows in, probabilities out.

This module must not know where a bundle lies or what an answer is made of.
"""

from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import onnxruntime

from contracts.bundle import Manifest, ModelEntry
from features.assemble import RETRY_WIDTH, WIDTH, Matrix
from features.catalog import GROUPS, POSITION
from service.errors import BundleRefused, ModelFailed

GOLDEN_TOLERANCE: Final = 1e-5
"""How far this machine's answer to a golden row may be from the trainer's."""
_GROUP_OF: Final = {spec.name: group for group, specs in GROUPS.items() for spec in specs}


class Model:
    """One ONNX graph in one thread; answers a calibrated probability per row."""

    __slots__ = ("_columns", "_groups", "_in_group", "_name", "_run", "_typical", "knows_typical")

    def __init__(self, name: str, entry: ModelEntry, graph: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._name = name
        self._run: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run
        self._columns = np.array([POSITION[each] for each in entry.inputs], dtype=np.intp)
        self.knows_typical = bool(entry.typical)
        self._typical = np.array(entry.typical, dtype=np.float32)
        self._groups = [name for name in dict.fromkeys(map(_GROUP_OF.__getitem__, entry.inputs)) if entry.typical]
        self._in_group = np.array([[_GROUP_OF[each] == name for each in entry.inputs] for name in self._groups])

    def probability(self, rows: Matrix) -> list[float]:
        """Return one probability per row of the catalog's vector.

        Raises
        ------
        ModelFailed
            When the graph raises, or answers something that is no probability.
        """
        return self.of_inputs(rows.take(self._columns, axis=1))

    def made_typical(self, row: Matrix) -> dict[str, float]:
        """Return by group of features the probability of a row in which that group is as a typical payment has it.

        Parameters
        ----------
        row
            Shape (1, n), of the catalog's vector.

        Raises
        ------
        ModelFailed
            As in `probability`; also for a model without a typical row.
        """
        inputs = np.where(self._in_group, self._typical, row.take(self._columns, axis=1))
        return dict(zip(self._groups, self.of_inputs(inputs), strict=True))

    def of_inputs(self, inputs: Matrix) -> list[float]:
        """Return one probability per row of this model's own inputs, shape (n, inputs)."""
        try:
            answer: npt.NDArray[np.float32] = self._run(["probability"], {"rows": inputs})[0]
            shape, probabilities = answer.shape, answer.tolist()
        except Exception as error:  # onnxruntime raises whatever its kernels do
            raise ModelFailed(self._name, type(error).__name__) from error
        if shape != (len(inputs),):
            raise ModelFailed(self._name, f"it answered the shape {shape} for {len(inputs)} rows")
        for p in probabilities:
            if not 0.0 <= p <= 1.0:
                raise ModelFailed(self._name, "it answered something that is no probability")
        return cast(list[float], probabilities)


class Scorer:
    """Every trained model of a bundle by name; one that is not here is answered by its prior."""

    __slots__ = ("_models", "_overall", "_priors")

    def __init__(self, manifest: Manifest, models: dict[str, Model]) -> None:
        self._models = models
        self._priors = manifest.priors
        self._overall = {name: entry.prior for name, entry in manifest.models.items()}

    def trained(self, name: str) -> bool:
        """Tell whether the bundle has this model."""
        return name in self._models

    def probability(self, name: str, rows: Matrix) -> list[float]:
        """Return the model's probability per row; see `Model.probability`."""
        return self._models[name].probability(rows)

    def knows_typical(self, name: str) -> bool:
        """Tell whether the bundle has this model, and a typical row of it."""
        return name in self._models and self._models[name].knows_typical

    def made_typical(self, name: str, row: Matrix) -> dict[str, float]:
        """Return the model's probability with each group as a typical payment has it; see `Model.made_typical`."""
        return self._models[name].made_typical(row)

    def prior(self, name: str, *keys: str) -> float:
        """Return the most specific prior there is: the first of `keys` that is known, else the overall rate."""
        table = self._priors.get(name, {})
        for key in keys:
            if key in table:
                return table[key]
        return self._overall[name]


def load_models(folder: Path, manifest: Manifest, graphs: dict[str, bytes]) -> dict[str, Model]:
    """Open every graph and hold it to its golden rows; that also warms it.

    Raises
    ------
    BundleRefused
        When a graph cannot be opened, or does not answer as it did for the trainer.
    """
    models = {}
    for name, graph in graphs.items():
        entry = manifest.models[name]
        known = RETRY_WIDTH if name == "retry" else WIDTH
        for each in entry.inputs:
            if POSITION.get(each, known) >= known:
                raise BundleRefused(str(folder), f"the {name} model wants {each}, which is no feature it can have")
        if len(entry.typical) not in (0, len(entry.inputs)):
            reason = f"the {name} model has {len(entry.inputs)} inputs, a typical row of it {len(entry.typical)}"
            raise BundleRefused(str(folder), reason)
        if not entry.golden_rows or len(entry.golden_rows) != len(entry.golden_expected):
            counts = f"{len(entry.golden_rows)} and {len(entry.golden_expected)}"
            reason = f"expected golden rows of the {name} model and as many answers, got {counts}"
            raise BundleRefused(str(folder), reason)
        try:
            model = Model(name, entry, graph)
            rows = np.array(entry.golden_rows, dtype=np.float32).reshape(-1, len(entry.inputs))
            answers = model.of_inputs(rows)
        except ModelFailed as error:
            raise BundleRefused(str(folder), str(error)) from error
        except Exception as error:  # onnxruntime's own tree is not exported
            raise BundleRefused(str(folder), f"the {name} model cannot be opened: {type(error).__name__}") from error
        off = max(abs(a - b) for a, b in zip(answers, entry.golden_expected, strict=True))
        if off > GOLDEN_TOLERANCE:
            reason = f"the {name} model is {off:.2e} off on its golden rows, allowed {GOLDEN_TOLERANCE:.0e}"
            raise BundleRefused(str(folder), reason)
        models[name] = model
    return models
