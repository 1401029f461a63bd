"""The kernel of a forest against ONNX Runtime: the same leaves, the same sums, the same probability."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from service.models import kernel
from service.models.graph import UnknownGraph
from trainer.fit.export import session

needs_kernels = pytest.mark.skipif(not kernel.THERE, reason="the kernels are not built")

COLUMNS = 4
PLACES = (1, 6, 2, 3)
"""Where in a whole row each input is."""
NUMBERS = (-np.inf, -1.0, -0.0, 0.0, 1e-45, 0.5, 0.5000001, 1.0, 3e38, np.inf)
FINITE = tuple(number for number in NUMBERS if np.isfinite(number))

number = st.sampled_from(NUMBERS)
weight = st.floats(-1, 1, width=32)


def tree(depth: int) -> Any:
    """Return a strategy for a tree: a leaf is a dict of weights by target, a node a tuple."""
    moves = st.dictionaries(st.integers(2, 4), weight, max_size=3)
    leaf = st.builds(lambda first, second, moves: {0: first, 1: second} | moves, weight, weight, moves)
    if not depth:
        return leaf
    inner = st.tuples(
        st.sampled_from(["BRANCH_LEQ", "BRANCH_LT"]),
        st.integers(0, COLUMNS - 1),
        st.sampled_from(FINITE),
        st.booleans(),
        tree(depth - 1),
        tree(depth - 1),
    )
    return st.one_of(leaf, inner) if depth < 4 else inner


def ensemble(trees: list[Any], targets: int = 5, modes: str | None = None, **more: Any) -> Any:
    """Return the node of an ensemble of such trees."""
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
            "missing_value_tracks_true",
        )
    }  # fmt: skip
    weights: list[tuple[int, int, int, float]] = []
    for tree_id, root in enumerate(trees):
        waiting, count = [(0, root)], 1
        while waiting:
            place, node = waiting.pop()
            row: tuple[Any, ...] = (0, 0.0, "LEAF", 0, 0, 0)
            if isinstance(node, dict):
                weights += [(tree_id, place, target, value) for target, value in node.items() if target < targets]
            else:
                mode, feature, threshold, tracks, true, false = node
                row = (feature, threshold, modes or mode, count, count + 1, int(tracks))
                waiting += [(count, true), (count + 1, false)]
                count += 2
            for name, value in zip(columns, (tree_id, place, *row), strict=True):
                columns[name].append(value)
    told = [list(each) for each in zip(*weights, strict=True)]
    names = ("target_treeids", "target_nodeids", "target_ids", "target_weights")
    attributes: dict[str, Any] = {f"nodes_{name}": values for name, values in columns.items()}
    attributes |= dict(zip(names, told, strict=True))
    attributes |= {"n_targets": targets, "post_transform": "NONE", "aggregate_function": "SUM"} | more
    return helper.make_node("TreeEnsembleRegressor", ["rows"], ["walk"], domain="ai.onnx.ml", **attributes)


def graph(first: Any, calibrated: bool, margins: bool, targets: int = 5, more: Any = ()) -> bytes:
    """Return a model of an ensemble, with the nodes that the trainer puts behind it."""
    node, constant = helper.make_node, helper.make_tensor
    constants = [
        constant("widths", TensorProto.INT64, [2], [2, targets - 2]),
        constant("low", TensorProto.FLOAT, [], [1e-6 if calibrated else 0.0]),
        constant("high", TensorProto.FLOAT, [], [1 - 1e-6 if calibrated else 1.0]),
        constant("slopes", TensorProto.FLOAT, [2, 1], [1.1, -0.8]),
        constant("offset", TensorProto.FLOAT, [1], [0.2]),
        constant("flat", TensorProto.INT64, [1], [-1]),
        constant("positive", TensorProto.INT64, [], [0]),
    ]
    nodes = [first, node("Split", ["walk", "widths"], ["margins" if margins else "both", "moves"], axis=1)]
    if margins:
        nodes.append(node("Sigmoid", ["margins"], ["both"]))
    nodes.append(node("Clip", ["both", "low", "high"], ["kept"]))
    if calibrated:
        nodes += [
            node("Log", ["kept"], ["logs"]),
            node("Gemm", ["logs", "slopes", "offset"], ["scaled"]),
            node("Sigmoid", ["scaled"], ["column"]),
            node("Reshape", ["column", "flat"], ["probability"]),
        ]
    else:
        nodes.append(node("Gather", ["kept", "positive"], ["probability"], axis=1))
    nodes += more
    value = helper.make_tensor_value_info
    ends = (
        [value("rows", 1, [None, COLUMNS])],
        [value("probability", 1, [None]), value("moves", 1, [None, targets - 2])],
    )
    made = helper.make_graph(nodes, "model", *ends, initializer=constants)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    serialized: bytes = helper.make_model(made, opset_imports=opsets, ir_version=8).SerializeToString()
    return serialized


@needs_kernels
@settings(max_examples=200, deadline=None)
@given(
    trees=st.lists(tree(4), min_size=1, max_size=19),
    targets=st.sampled_from([3, 5]),
    bases=st.booleans(),
    rows=st.lists(
        st.lists(st.one_of(number, st.just(np.nan)), min_size=COLUMNS, max_size=COLUMNS), min_size=1, max_size=6
    ),
    calibrated=st.booleans(),
    margins=st.booleans(),
)
def test_generated_ensembles(
    trees: list[Any], targets: int, bases: bool, rows: list[list[float]], calibrated: bool, margins: bool
) -> None:
    more: Any = {"base_values": [0.25, -0.25, 0.0, 0.0, 0.0][:targets]} if bases else {}
    serialized = graph(ensemble(trees, targets, **more), calibrated, margins, targets)
    inputs = np.array(rows, dtype=np.float32).reshape(-1, COLUMNS)
    whole = np.full((len(inputs), 8), np.nan, dtype=np.float32)
    whole[:, list(PLACES)] = inputs
    native, _ = kernel.compiled(serialized, PLACES, tells=True)
    found, walk = native.score(whole)
    expected, moves = session(serialized).run(["probability", "moves"], {"rows": inputs})
    assert walk is not None
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    for row, told in enumerate(moves):
        # The same leaves, added up in the same order: the same bits.
        np.testing.assert_array_equal(walk.row(row), told)
    with pytest.raises(IndexError):
        walk.row(len(inputs))


STUMP = ("BRANCH_LEQ", 2, 0.5, False, {0: 0.25, 1: 0.75, 2: 0.5}, {0: 0.5, 1: 0.5, 3: -0.5})


@needs_kernels
def test_without_is_asked_of_one_row_alone() -> None:
    native, _ = kernel.compiled(graph(ensemble([STUMP] * 3), False, False), PLACES, tells=True)
    rows = np.zeros((2, 8), dtype=np.float32)
    rows[1, PLACES[2]] = 1.0
    found, walk = native.score(rows)
    assert walk is not None
    assert found == [0.75, 1.0]
    assert walk.without(0, 1, -0.75, False, 1.0, 1.0, 0.0, False, 0.0) == [(0, 0.0)]
    assert walk.without(1, 2, 0.5, False, 1.0, 1.0, 0.0, False, 0.0) == [(1, 0.5), (0, 0.0)]


@needs_kernels
def test_moves_are_not_told_where_nobody_wants_them() -> None:
    native, _ = kernel.compiled(graph(ensemble([STUMP]), False, False), PLACES, tells=False)
    assert native.score(np.zeros((1, 8), dtype=np.float32)) == ([0.25], None)


@needs_kernels
@pytest.mark.parametrize(
    "rows",
    [np.zeros((1, 6), np.float32), np.zeros((1, 8)), np.zeros(8, np.float32), np.zeros((2, 16), np.float32)[:, ::2]],
    ids=["too narrow", "doubles", "one row", "strided"],
)
def test_rows_of_another_shape_are_refused(rows: Any) -> None:
    native, _ = kernel.compiled(graph(ensemble([STUMP]), False, False), PLACES, tells=True)
    with pytest.raises(ValueError, match="expected rows of the catalog's vector"):
        native.score(rows)


@needs_kernels
def test_sums_beyond_float32_are_kept_within_the_clip_as_by_onnx_runtime() -> None:
    """What is no number cannot come of them: nothing finite brings infinity back."""
    huge, back = {0: 3e38, 1: -3e38}, {0: -3e38, 1: 3e38}
    serialized = graph(
        ensemble([("BRANCH_LEQ", 0, 0.0, False, leaf, leaf) for leaf in (huge, huge, back)]), True, False
    )
    native, _ = kernel.compiled(serialized, PLACES, tells=True)
    (expected,) = session(serialized).run(["probability"], {"rows": np.zeros((1, COLUMNS), dtype=np.float32)})
    assert native.score(np.zeros((1, 8), dtype=np.float32))[0] == pytest.approx(expected.tolist(), abs=1e-6)


WHOLE = {0: 0.25, 1: 0.75}

UNKNOWN = {
    "another mode": graph(ensemble([STUMP], modes="BRANCH_GT"), False, False),
    "means": graph(ensemble([STUMP], aggregate_function="AVERAGE"), False, False),
    "a transform": graph(ensemble([STUMP], post_transform="LOGISTIC"), False, False),
    "a node more": graph(
        ensemble([STUMP]), False, False, more=[helper.make_node("Identity", ["probability"], ["other"])]
    ),
    "moves of another node": graph(ensemble([STUMP]), False, False, more=[helper.make_node("Log", ["kept"], ["logs"])]),
    "a weight that is none": graph(
        ensemble([("BRANCH_LEQ", 0, 0.0, False, {0: np.nan, 1: 0.0}, {0: 0.0, 1: 0.0})]), False, False
    ),
    "a threshold that is none": graph(ensemble([("BRANCH_LEQ", 0, np.nan, False, WHOLE, WHOLE)]), False, False),
    "nothing below": graph(ensemble([("BRANCH_LT", 0, -np.inf, False, WHOLE, WHOLE)]), False, False),
    "an input too many": graph(ensemble([("BRANCH_LEQ", COLUMNS, 0.0, False, WHOLE, WHOLE)]), False, False),
    "a negative input": graph(ensemble([("BRANCH_LEQ", -1, 0.0, False, WHOLE, WHOLE)]), False, False),
    "a child that is not there": graph(ensemble([STUMP], nodes_truenodeids=[7, 0, 0]), False, False),
    "a circle": graph(ensemble([STUMP], nodes_truenodeids=[0, 0, 0]), False, False),
    "two parents": graph(ensemble([STUMP], nodes_truenodeids=[2, 0, 0]), False, False),
    "a target too many": graph(ensemble([STUMP], target_ids=[0, 1, 2, 0, 1, 5]), False, False),
    "a target twice": graph(ensemble([STUMP], target_ids=[0, 0, 2, 0, 1, 3]), False, False),
    "a leaf with one answer": graph(ensemble([("BRANCH_LEQ", 0, 0.0, False, {0: 0.25}, WHOLE)]), False, False),
    "moves from somewhere": graph(ensemble([STUMP], base_values=[0.0, 0.0, 0.5, 0.0, 0.0]), False, False),
    "too few bases": graph(ensemble([STUMP], base_values=[0.5]), False, False),
    "too few values": graph(ensemble([STUMP], nodes_values=[0.5]), False, False),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_known_is_refused(name: str) -> None:
    with pytest.raises(UnknownGraph, match=r"expected|do not fit together"):
        kernel.compiled(UNKNOWN[name], PLACES, tells=True)


@needs_kernels
@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_a_damaged_graph_is_refused_or_walked_but_never_trips(data: st.DataObject) -> None:
    damaged = bytearray(graph(ensemble([STUMP, ("BRANCH_LT", 3, 1.0, True, STUMP, STUMP)]), True, True))
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        native, _ = kernel.compiled(bytes(damaged), PLACES, tells=True)
    except UnknownGraph:
        return
    try:
        _, walk = native.score(np.ones((3, 8), dtype=np.float32))
    except ArithmeticError:
        return
    assert walk is not None
    assert len(walk.row(2)) <= 64
