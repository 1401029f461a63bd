"""Fitted trees as an ONNX graph, straight from their arrays: a random forest, or boosted trees.

The general converters walk every node in Python (five seconds for a forest of 100 trees; numpy takes none) and the one for
boosted trees answers wrongly where a tree is a single leaf, which is what few rows give. The parity gate
(``trainer.fit.export``) judges these graphs like any other.

This module must not know what the trees are for.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier
from xgboost import XGBClassifier

OUTPUT: Final = "raw"
"""Name of the output, (n, 1) float32."""

_LEAF: Final = -1

Array = npt.NDArray[Any]


class Tree(NamedTuple):
    """One tree by node: children (-1: it is a leaf), the feature it asks, the threshold, and what a leaf adds."""

    yes: Array
    no: Array
    feature: Array
    threshold: Array
    leaf: Array


def forest_graph(forest: RandomForestClassifier, columns: int, opset: int) -> onnx.ModelProto:
    """Return a graph that answers the share of the positive class, averaged over the trees.

    Parameters
    ----------
    forest
        Fitted, of two classes, the positive one last.
    columns
        Width of a row of the input "rows", float32.
    opset
        Version of the ordinary operators that whoever adds to the graph may use.
    """
    trees = []
    for estimator in forest.estimators_:
        tree = estimator.tree_
        counts = tree.value[:, 0, :]
        leaf = counts[:, 1] / counts.sum(axis=1) / len(forest.estimators_)
        trees.append(Tree(tree.children_left, tree.children_right, tree.feature, _no_higher(tree.threshold), leaf))
    return _graph(trees, "BRANCH_LEQ", 0.0, columns, opset)


def boosted_graph(boosted: XGBClassifier, columns: int, opset: int) -> onnx.ModelProto:
    """Return a graph that answers the margin (log odds) of the positive class; parameters as in `forest_graph`."""
    learner = json.loads(bytes(boosted.get_booster().save_raw("json")))["learner"]
    trees = []
    for tree in learner["gradient_booster"]["model"]["trees"]:
        conditions = np.array(tree["split_conditions"], dtype=np.float32)
        yes, no, feature = (np.array(tree[name]) for name in ("left_children", "right_children", "split_indices"))
        # A leaf's condition is its weight.
        trees.append(Tree(yes, no, feature, conditions, conditions))
    base = float(learner["learner_model_param"]["base_score"].strip("[]"))
    return _graph(trees, "BRANCH_LT", float(np.log(base / (1 - base))), columns, opset)


def _graph(trees: Sequence[Tree], mode: str, base: float, columns: int, opset: int) -> onnx.ModelProto:
    """Return a model of one node that adds up the leaves of all trees."""
    number = np.repeat(np.arange(len(trees)), [len(tree.yes) for tree in trees])
    node = np.concatenate([np.arange(len(tree.yes)) for tree in trees])
    yes, no, feature, threshold, weight = (np.concatenate(arrays) for arrays in zip(*trees, strict=True))
    leaf = yes == _LEAF
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        [OUTPUT],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        base_values=[base],
        nodes_treeids=number.tolist(),
        nodes_nodeids=node.tolist(),
        nodes_featureids=np.where(leaf, 0, feature).tolist(),
        nodes_modes=np.where(leaf, "LEAF", mode).tolist(),
        nodes_values=np.where(leaf, 0.0, threshold).tolist(),
        nodes_truenodeids=np.where(leaf, 0, yes).tolist(),
        nodes_falsenodeids=np.where(leaf, 0, no).tolist(),
        target_treeids=number[leaf].tolist(),
        target_nodeids=node[leaf].tolist(),
        target_ids=[0] * int(leaf.sum()),
        target_weights=weight[leaf].tolist(),
    )
    graph = helper.make_graph(
        [ensemble],
        "trees",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, 1])],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def _no_higher(thresholds: Array) -> Array:
    """Return the largest float32 that is not above each float64 threshold: a float32 row takes the same branch then."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
