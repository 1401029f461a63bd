"""The four models of one bundle in memory: rows in, probabilities out.

A model is opened and checked by ONNX Runtime, the reference. Where the kernels are built and one of them knows its graph and
answers alike, it answers from then on and the session is let go; else the session stays (docs/adr/0027-models-in-c.md).
This module must not know where a bundle lies or what an answer is made of.
"""

import logging
from pathlib import Path
from typing import Any, Final, Literal, cast

import numpy as np
import onnxruntime

from contracts.bundle import Calibration, Manifest, ModelEntry
from features.assemble import RETRY_WIDTH, WIDTH, Matrix
from features.catalog import GROUPS, POSITION
from service.errors import BundleRefused, ModelFailed
from service.models import kernel as kernels
from service.models.agreement import around, disagreement
from service.models.graph import UnknownGraph
from service.models.kernel import Kernel
from service.models.moves import Floats, Moves
from service.models.packed import Packed

try:
    from service.models.moves_native import without
except ImportError:
    from service.models.moves import without

log: Final = logging.getLogger(__name__)

Engine = Literal["c", "onnxruntime"]

GOLDEN_TOLERANCE: Final = 1e-5
"""How far this machine's answer to a golden row may be from the trainer's."""


class Told(tuple[Floats]):
    """The moves that ONNX Runtime answers with, one array of shape (rows, groups); `Moves`."""

    __slots__ = ()

    def row(self, row: int) -> Floats:
        """Return the moves of one row."""
        moves: Floats = self[0][row]
        return moves

    def without(
        self,
        row: int,
        most: int,
        base: float,
        log_odds: bool,
        slope: float,
        high: float,
        offset: float,
        calibrated: bool,
        shift: float,
    ) -> list[tuple[int, float]]:
        """Return what `service.models.moves.without` does."""
        return without(self[0], row, most, base, log_odds, slope, high, offset, calibrated, shift)


class Model:
    """One ONNX graph in one thread; answers a calibrated probability per row, and what moved it if it can."""

    __slots__ = ("_columns", "_kernel", "_name", "_outputs", "_run", "_terms", "attribution")

    def __init__(self, name: str, entry: ModelEntry, graph: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._name = name
        self._run: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"]).run
        self._kernel: Kernel | None = None
        self._columns = np.array([POSITION[each] for each in entry.inputs], dtype=np.intp)
        self.attribution = entry.attribution
        self._outputs = ["probability"] if entry.attribution is None else ["probability", "moves"]
        told, scaling = entry.attribution, entry.calibration or Calibration(method="none")
        self._terms = (
            0.0 if told is None else told.base,
            told is not None and told.unit == "log_odds",
            scaling.slope,
            scaling.slope if scaling.method == "platt" else scaling.slope_high,
            scaling.offset,
            scaling.method != "none",
        )

    @property
    def engine(self) -> Engine:
        """What answers."""
        return "onnxruntime" if self._kernel is None else "c"

    def score(self, rows: Matrix) -> tuple[list[float], Moves | None]:
        """Return one probability per row of the catalog's vector, and the moves of each row where the model tells them.

        Raises
        ------
        ModelFailed
            When the graph raises, or answers something that is no probability.
        """
        if self._kernel is None:
            return self.of_inputs(rows.take(self._columns, axis=1))
        try:
            return self._kernel.score(rows)
        except ArithmeticError as error:
            raise ModelFailed(self._name, "it answered something that is no probability") from error
        except Exception as error:
            raise ModelFailed(self._name, type(error).__name__) from error

    def of_inputs(self, inputs: Matrix) -> tuple[list[float], Moves | None]:
        """Return the same for rows of this model's own inputs, shape (n, inputs), by ONNX Runtime."""
        try:
            answer, *moves = self._run(self._outputs, {"rows": inputs})
            shape, probabilities = answer.shape, answer.tolist()
        except Exception as error:  # onnxruntime raises whatever its kernels do
            raise ModelFailed(self._name, type(error).__name__) from error
        if shape != (len(inputs),):
            raise ModelFailed(self._name, f"it answered the shape {shape} for {len(inputs)} rows")
        for p in probabilities:
            if not 0.0 <= p <= 1.0:
                raise ModelFailed(self._name, "it answered something that is no probability")
        return cast(list[float], probabilities), Told(moves) if moves else None

    def settle(self, graph: bytes, golden: Matrix) -> str | None:
        """Let the kernel answer from now on if it does as ONNX Runtime does; return why not, None where it does.

        Where it answers, the session is let go.

        Parameters
        ----------
        graph
            What the session was opened with.
        golden
            Rows of the model's inputs, shape (n, inputs), that it is asked about, and around which others are drawn.
        """
        try:
            kernel, made = kernels.compiled(graph, self._columns.tolist(), self.attribution is not None)
            rows = np.concatenate([golden, around(golden, made if isinstance(made, Packed) else None, self._columns)])
            wrong = disagreement(kernel, self.of_inputs, rows, self._columns, RETRY_WIDTH)
        except (UnknownGraph, ModelFailed, ArithmeticError, ValueError) as error:
            return str(error) or type(error).__name__
        if wrong is None:
            self._kernel, self._run = kernel, None
        return wrong

    def without(self, moves: Moves, row: int, most: int, shift: float) -> list[tuple[str, float]]:
        """Return the groups that moved an answer most, and the probability without what each of them did, largest first.

        Parameters
        ----------
        moves, row
            As `score` returned them, and of which row.
        most
            How many groups at the most.
        shift
            What was added to the log-odds of the answer.
        """
        assert self.attribution is not None
        groups = self.attribution.groups
        return [(groups[place], p) for place, p in moves.without(row, most, *self._terms, shift)]


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

    @property
    def engines(self) -> dict[str, Engine]:
        """What answers for each model."""
        return {name: model.engine for name, model in self._models.items()}

    def score(self, name: str, rows: Matrix) -> tuple[list[float], Moves | None]:
        """Return the model's probability per row and what moved it; see `Model.score`."""
        return self._models[name].score(rows)

    def probability(self, name: str, rows: Matrix) -> list[float]:
        """Return the model's probability per row alone."""
        return self._models[name].score(rows)[0]

    def without(self, name: str, moves: Moves, row: int, most: int, shift: float) -> list[tuple[str, float]]:
        """Return the groups that moved a model's answer most; see `Model.without`."""
        return self._models[name].without(moves, row, most, shift)

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
        told = () if entry.attribution is None else entry.attribution.groups
        if unknown := [group for group in told if group not in GROUPS]:
            raise BundleRefused(str(folder), f"the {name} model tells of {unknown[0]}, which is no group of features")
        if not entry.golden_rows or len(entry.golden_rows) != len(entry.golden_expected):
            counts = f"{len(entry.golden_rows)} and {len(entry.golden_expected)}"
            reason = f"expected golden rows of the {name} model and as many answers, got {counts}"
            raise BundleRefused(str(folder), reason)
        try:
            model = Model(name, entry, graph)
            rows = np.array(entry.golden_rows, dtype=np.float32).reshape(-1, len(entry.inputs))
            answers, moves = model.of_inputs(rows)
        except ModelFailed as error:
            raise BundleRefused(str(folder), str(error)) from error
        except Exception as error:  # onnxruntime's own tree is not exported
            raise BundleRefused(str(folder), f"the {name} model cannot be opened: {type(error).__name__}") from error
        off = max(abs(a - b) for a, b in zip(answers, entry.golden_expected, strict=True))
        if off > GOLDEN_TOLERANCE:
            reason = f"the {name} model is {off:.2e} off on its golden rows, allowed {GOLDEN_TOLERANCE:.0e}"
            raise BundleRefused(str(folder), reason)
        if isinstance(moves, Told) and moves[0].shape != (len(rows), len(told)):
            reason = f"the {name} model tells of {len(told)} groups, its moves have the shape {moves[0].shape}"
            raise BundleRefused(str(folder), reason)
        if kernels.THERE and (wrong := model.settle(graph, rows)) is not None:
            log.warning("the %s model of %s stays with ONNX Runtime: %s", name, manifest.version, wrong)
        models[name] = model
    return models
