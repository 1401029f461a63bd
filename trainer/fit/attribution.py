"""Trees that say, with every answer, how far each group of features moved it.

On its way to a leaf an answer moves, at every split, from the mean of the rows that came to the node to the mean of those that
go on with it. The move belongs to the feature that was asked about, so an answer is the mean of all rows plus one sum of
moves for each group of features (Saabas 2014, "Interpreting random forests"). Which moves lead to a leaf never changes:
they are weights of the leaf, as its answer is, and one walk through a tree gives both.

Such sums credit what is asked near the leaf with more, and near the root with less, than Shapley values would; those would cost a
hundred walks. This module must not know what is done with an answer.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from onnx import helper

from contracts.bundle import Attribution

Rows = npt.NDArray[np.float32]

_NODES: Final = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes", "nodes_truenodeids",
    "nodes_falsenodeids", "nodes_missing_value_tracks_true",
)  # fmt: skip
_LEAF: Final = b"LEAF"
_LESS: Final = {b"BRANCH_LEQ": np.less_equal, b"BRANCH_LT": np.less}


class _Tree(NamedTuple):
    """One tree: for each node its feature, threshold and children; for each leaf its answer."""

    ids: list[int]
    features: npt.NDArray[np.intp]
    thresholds: Rows
    left: npt.NDArray[np.intp]
    right: npt.NDArray[np.intp]
    leaf: npt.NDArray[np.bool_]
    answers: npt.NDArray[np.float64]
    less: Any


def is_trees(graph: Any) -> bool:
    """Tell whether a converted graph is one ensemble of trees with two classes."""
    return len(graph.node) > 0 and graph.node[0].op_type == "TreeEnsembleClassifier"


def attributed(graph: Any, columns: Sequence[str], rows: Rows, both: str, moves: str) -> tuple[list[Any], Attribution]:
    """Return the nodes that stand in for a converted classifier's, and what is to be known of their moves.

    Parameters
    ----------
    graph
        One ensemble of trees, as skl2onnx and onnxmltools convert a classifier of two classes.
    columns
        The group of each of its inputs.
    rows
        Shape (n, inputs): rows that the means in the nodes are made of.
    both, moves
        Names of the two outputs: the shares of the positive and the other class, shape (n, 2), and the moves, (n, groups).
    """
    given = {each.name: helper.get_attribute_value(each) for each in graph.node[0].attribute}
    is_log_odds = given.get("post_transform") == b"LOGISTIC"
    trees = _trees(given)
    groups = tuple(dict.fromkeys(columns))
    place = {group: index for index, group in enumerate(groups)}
    of_column = np.array([place[group] for group in columns])
    weights: list[tuple[int, int, int, float]] = []
    base = sum(given.get("base_values", ())[-1:])
    offset = base
    for number, tree in trees.items():
        means = _means(tree, rows)
        base += float(means[0])
        for node, moved in _leaves(tree, means, of_column, len(groups)):
            answer = float(tree.answers[node])
            # The other class' own share: near 1, float32 has too few digits left for 1 - p.
            other = -answer if is_log_odds else 1.0 / len(trees) - answer
            told = {0: answer, 1: other} | {2 + int(group): float(moved[group]) for group in np.flatnonzero(moved)}
            weights += [(number, tree.ids[node], target, value) for target, value in told.items()]
    tree_ids, node_ids, targets, values = zip(*weights, strict=True)
    attributes = {name: given[name] for name in _NODES if name in given}
    if offset:
        attributes["base_values"] = [offset, -offset] + [0.0] * len(groups)
    walk = helper.make_node(
        "TreeEnsembleRegressor",
        list(graph.node[0].input),
        ["pm_walk"],
        domain="ai.onnx.ml",
        n_targets=2 + len(groups),
        aggregate_function="SUM",
        post_transform="NONE",
        target_treeids=tree_ids,
        target_nodeids=node_ids,
        target_ids=targets,
        target_weights=values,
        **attributes,
    )
    graph.initializer.append(helper.make_tensor("pm_widths", 7, [2], [2, len(groups)]))
    apart = helper.make_node("Split", ["pm_walk", "pm_widths"], ["pm_margins" if is_log_odds else both, moves], axis=1)
    nodes = [walk, apart]
    if is_log_odds:
        nodes.append(helper.make_node("Sigmoid", ["pm_margins"], [both]))
    return nodes, Attribution(groups=groups, base=base, unit="log_odds" if is_log_odds else "probability")


def _trees(given: dict[str, Any]) -> dict[int, _Tree]:
    """Take an ensemble apart."""
    leaves = zip(given["class_treeids"], given["class_nodeids"], strict=True)
    answers = dict(zip(leaves, given["class_weights"], strict=True))
    numbers = np.array(given["nodes_treeids"])
    trees = {}
    for number in dict.fromkeys(given["nodes_treeids"]):
        mine = np.flatnonzero(numbers == number)
        ids = [given["nodes_nodeids"][at] for at in mine]
        place = {node: index for index, node in enumerate(ids)}
        modes = [given["nodes_modes"][at] for at in mine]
        leaf = np.array([mode == _LEAF for mode in modes])
        trees[number] = _Tree(
            ids,
            np.array([given["nodes_featureids"][at] for at in mine]),
            np.array([given["nodes_values"][at] for at in mine], dtype=np.float32),
            np.array([place.get(given["nodes_truenodeids"][at], 0) for at in mine]),
            np.array([place.get(given["nodes_falsenodeids"][at], 0) for at in mine]),
            leaf,
            np.array([answers.get((number, node), 0.0) for node in ids]),
            _LESS[next((mode for mode in modes if mode != _LEAF), b"BRANCH_LEQ")],
        )
    return trees


def _means(tree: _Tree, rows: Rows) -> npt.NDArray[np.float64]:
    """Return the mean answer of the rows that come to each node; where none comes, the mean of its children."""
    counts = np.zeros(len(tree.ids), dtype=np.int64)
    at, which = np.zeros(len(rows), dtype=np.intp), np.arange(len(rows))
    while len(at):
        counts += np.bincount(at, minlength=len(counts))
        going = ~tree.leaf[at]
        at, which = at[going], which[going]
        goes_left = tree.less(rows[which, tree.features[at]], tree.thresholds[at])
        at = np.where(goes_left, tree.left[at], tree.right[at])
    means = tree.answers.copy()
    for node in reversed(_down(tree)):
        if not tree.leaf[node]:
            children = [tree.left[node], tree.right[node]]
            shares = counts[children] if counts[node] else np.ones(2)
            means[node] = np.average(means[children], weights=shares)
    return means


def _down(tree: _Tree) -> list[int]:
    """Return the nodes, each before its children."""
    order, waiting = [], [0]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if not tree.leaf[node]:
            waiting += [int(tree.left[node]), int(tree.right[node])]
    return order


def _leaves(
    tree: _Tree, means: npt.NDArray[np.float64], of_column: npt.NDArray[np.intp], groups: int
) -> list[tuple[int, npt.NDArray[np.float64]]]:
    """Return each leaf and the moves that lead to it, one number for each group."""
    moved = np.zeros((len(tree.ids), groups))
    found = []
    for node in _down(tree):
        if tree.leaf[node]:
            found.append((node, moved[node]))
            continue
        for child in (tree.left[node], tree.right[node]):
            moved[child] = moved[node]
            moved[child, of_column[tree.features[node]]] += means[child] - means[node]
    return found
