"""The kernel of a graph: what it computes, recognised node by node, and evaluated in C.

Known is exactly what the trainer exports (``trainer.fit.export``, ``trainer.fit.regression``): an ensemble of trees that tells
what moved it, or the regression on logs; behind either the calibration. A graph with a node more is not known.

This module must not know what a model is asked for.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from features.assemble import Matrix
from service.models.graph import Graph, Node, UnknownGraph, read
from service.models.moves import Moves
from service.models.packed import Packed, pack

try:
    from service.models.forest_native import Forest
    from service.models.linear_native import Linear

    THERE = True
except ImportError:
    THERE = False

FLOAT: Final = 1
DOUBLE: Final = 11


class Kernel(Protocol):
    """A graph in C: rows of the catalog's whole vector in, what `service.models.scorer.Model.score` says out."""

    def score(self, rows: Matrix) -> tuple[list[float], Moves | None]: ...  # noqa: D102


class Tail(NamedTuple):
    """What comes after the shares of both classes.

    Attributes
    ----------
    margins
        Whether the two are log-odds still.
    low, high
        Within which they are kept.
    slopes, offset
        Of their logs, where they are calibrated.
    positive
        Which of the two is the answer, where they are not.
    """

    margins: bool
    low: float
    high: float
    slopes: tuple[float, float] | None = None
    offset: float = 0.0
    positive: int = 0


class Regression(NamedTuple):
    """A regression on x' = ln(added + max(floor, min(ceiling, x))), x' x' and x < absent of every column.

    `logs`, `squares`, `flags` and `bias` are each for the one class and the other.
    """

    columns: Sequence[int]
    ceilings: Sequence[float]
    floor: float
    added: float
    absent: float
    logs: Sequence[tuple[float, float]]
    squares: Sequence[tuple[float, float]]
    flags: Sequence[tuple[float, float]]
    bias: tuple[float, float]


def compiled(serialized: bytes, columns: Sequence[int], tells: bool) -> tuple[Kernel, Packed | Regression]:
    """Return the kernel of a graph, and what it was made of.

    Parameters
    ----------
    serialized
        An ONNX model; only one that ONNX Runtime has opened is worth asking about.
    columns
        Where in the catalog's vector each of its inputs is.
    tells
        Whether its moves are wanted.

    Raises
    ------
    UnknownGraph
        When it is not one of those that are known here, saying what was expected.
    """
    graph = read(serialized)
    try:
        return _compiled(graph, columns, tells)
    except UnknownGraph:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        # What is missing, or of another kind than it has to be, trips somewhere.
        msg = f"its nodes do not fit together: {type(error).__name__}"
        raise UnknownGraph(msg) from error


def _compiled(graph: Graph, columns: Sequence[int], tells: bool) -> tuple[Kernel, Packed | Regression]:
    tail, source, nodes = _tail(graph)
    first = graph.nodes[0]
    if first.operation == "TreeEnsembleRegressor":
        split = _maker(graph, source, "Split", axis=1)
        widths = _constant(graph, split.inputs[1]).tolist()
        known = (
            (split.inputs[0],) == first.outputs
            and first.inputs == graph.inputs == ("rows",)
            and (split.outputs[0], split.outputs[-1]) == (source, "moves")
            and widths == [2, first.attributes.get("n_targets", 0) - 2]
            and nodes + 2 == len(graph.nodes)
        )
        _expect(known, "trees that tell two answers and moves")
        packed = pack(first, columns)
        return Forest(packed, tail, tells), packed
    _expect(not tells, "moves only of trees")
    regression, more = _regression(graph, source, columns)
    _expect(nodes + more == len(graph.nodes) and not tail.margins, "nothing but a regression")
    return Linear(regression, tail), regression


def _tail(graph: Graph) -> tuple[Tail, str, int]:
    """Return the calibration, the name of what goes into it, and how many nodes it is made of."""
    _expect("probability" in graph.outputs, "an output probability")
    last = next((node for node in graph.nodes if "probability" in node.outputs), None)
    slopes, offset, positive, nodes = None, 0.0, 0, 2
    if last is not None and last.operation == "Gather":
        _only(last, axis=1)
        positive = int(_single(graph, last.inputs[1]))
        _expect(positive in (0, 1) and not _constant(graph, last.inputs[1]).shape, "one of two columns")
        clip = _maker(graph, last.inputs[0], "Clip")
    else:
        flat = _maker(graph, "probability", "Reshape")
        _expect(_constant(graph, flat.inputs[1]).tolist() == [-1], "one column")
        scaled = _maker(graph, _maker(graph, flat.inputs[0], "Sigmoid").inputs[0], "Gemm")
        weights, bias = (_constant(graph, name) for name in scaled.inputs[1:])
        _expect(weights.shape == (2, 1) and bias.shape == (1,) and weights.dtype == np.float32, "slopes of two logs")
        slopes, offset = (float(weights[0, 0]), float(weights[1, 0])), float(bias[0])
        clip = _maker(graph, _maker(graph, scaled.inputs[0], "Log").inputs[0], "Clip")
        nodes = 5
    low, high = (_single(graph, name) for name in clip.inputs[1:])
    source = clip.inputs[0]
    margins = any(node.operation == "Sigmoid" and source in node.outputs for node in graph.nodes)
    if margins:
        source = _maker(graph, source, "Sigmoid").inputs[0]
        nodes += 1
    return Tail(margins, low, high, slopes, offset, positive), source, nodes


def _regression(graph: Graph, source: str, columns: Sequence[int]) -> tuple[Regression, int]:
    """Return the regression whose two shares are `source`, and how many nodes it is made of."""
    shares = _maker(graph, _maker(graph, source, "Cast", to=FLOAT).inputs[0], "Sigmoid")
    margins = _maker(graph, shares.inputs[0], "Gemm")
    terms = _maker(graph, margins.inputs[0], "Concat", axis=1)
    _expect(len(terms.inputs) == 3, "logs, squares and flags")
    logs = _maker(graph, terms.inputs[0], "Log")
    squares = _maker(graph, terms.inputs[1], "Mul")
    _expect(squares.inputs == (terms.inputs[0],) * 2, "squares of the logs")
    less = _maker(graph, _maker(graph, terms.inputs[2], "Cast", to=DOUBLE).inputs[0], "Less")
    add = _maker(graph, logs.inputs[0], "Add")
    floor = _maker(graph, add.inputs[0], "Max")
    ceiling = _maker(graph, floor.inputs[0], "Min")
    x = _maker(graph, ceiling.inputs[0], "Cast", to=DOUBLE)
    _expect(less.inputs[0] == ceiling.inputs[0] and x.inputs == graph.inputs == ("rows",), "one input, rows")
    _expect(len(floor.inputs) == len(ceiling.inputs) == 2, "one floor and one ceiling")
    count = len(columns)
    weights, bias, ceilings = (
        _constant(graph, name) for name in (margins.inputs[1], margins.inputs[2], ceiling.inputs[1])
    )
    shapes = (weights.shape, bias.shape, ceilings.shape)
    _expect(shapes == ((3 * count, 2), (2,), (count,)) and weights.dtype == np.float64, "weights of every column")
    of_logs, of_squares, of_flags = ([(a, b) for a, b in part] for part in weights.reshape(3, count, 2).tolist())
    regression = Regression(
        columns=columns,
        ceilings=ceilings.tolist(),
        floor=_single(graph, floor.inputs[1]),
        added=_single(graph, add.inputs[1]),
        absent=_single(graph, less.inputs[1]),
        logs=of_logs,
        squares=of_squares,
        flags=of_flags,
        bias=(float(bias[0]), float(bias[1])),
    )
    return regression, 12


def _maker(graph: Graph, name: str, operation: str, **attributes: Any) -> Node:
    """Return the node that `name` comes from, which must be of an operation and have these attributes."""
    node = next((node for node in graph.nodes if name in node.outputs), None)
    if node is None or node.operation != operation:
        msg = f"expected {operation}, got {'nothing' if node is None else node.operation}"
        raise UnknownGraph(msg)
    _only(node, **attributes)
    return node


_DEFAULTS: Final[dict[str, dict[str, Any]]] = {"Gemm": {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}}


def _only(node: Node, **attributes: Any) -> None:
    """Refuse a node whose attributes say other than these; those at their defaults say nothing."""
    defaults = _DEFAULTS.get(node.operation, {})
    said = {name: value for name, value in node.attributes.items() if name not in defaults or value != defaults[name]}
    _expect(said == attributes, f"{node.operation} with {attributes}")


def _constant(graph: Graph, name: str) -> npt.NDArray[Any]:
    _expect(name in graph.constants, f"a constant {name}")
    return graph.constants[name]


def _single(graph: Graph, name: str) -> float:
    constant = _constant(graph, name)
    _expect(constant.size == 1, f"one number {name}")
    return float(constant.reshape(-1)[0])


def _expect(holds: bool, what: str) -> None:
    if not holds:
        msg = f"expected {what}"
        raise UnknownGraph(msg)
