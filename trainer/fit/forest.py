"""A fitted random forest as an ONNX graph, straight from the arrays of its trees.

The general converter walks every node in Python and takes five seconds for a forest of 100 trees; one pass of numpy over a
tree's arrays takes none. It also writes both classes' shares into every leaf where one is enough. The parity gate
(``trainer.fit.export``) judges the result like any other.

This module must not know what the forest is for.
"""

from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier

RAW: Final = "raw"
"""Name of the output: (n, 1) float32, the share of the positive class averaged over the trees."""

_LEAF: Final = -1


def forest_graph(forest: RandomForestClassifier, columns: int, opset: int) -> onnx.ModelProto:
    """Return a model with the input "rows" (n, columns) float32 and the output "raw" (n, 1) float32.

    Parameters
    ----------
    forest
        Fitted, of two classes, the positive one last.
    columns
        Width of a row.
    opset
        Version of the ordinary operators that whoever adds to the graph may use.
    """
    parts: dict[str, list[Any]] = {name: [] for name in ("tree", "node", "feature", "value", "yes", "no", "leaf", "p")}
    for number, estimator in enumerate(forest.estimators_):
        tree = estimator.tree_
        leaf = tree.children_left == _LEAF
        nodes = np.arange(tree.node_count)
        parts["tree"].append(np.full(tree.node_count, number))
        parts["node"].append(nodes)
        parts["feature"].append(np.where(leaf, 0, tree.feature))
        parts["value"].append(np.where(leaf, 0, _no_higher(tree.threshold)))
        parts["yes"].append(np.where(leaf, 0, tree.children_left))
        parts["no"].append(np.where(leaf, 0, tree.children_right))
        parts["leaf"].append(leaf)
        counts = tree.value[:, 0, :]
        parts["p"].append(counts[:, 1] / counts.sum(axis=1) / len(forest.estimators_))
    flat = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    leaf = flat["leaf"]
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        [RAW],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=flat["tree"].tolist(),
        nodes_nodeids=flat["node"].tolist(),
        nodes_featureids=flat["feature"].tolist(),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_values=flat["value"].tolist(),
        nodes_truenodeids=flat["yes"].tolist(),
        nodes_falsenodeids=flat["no"].tolist(),
        target_treeids=flat["tree"][leaf].tolist(),
        target_nodeids=flat["node"][leaf].tolist(),
        target_ids=np.zeros(int(leaf.sum()), dtype=np.int64).tolist(),
        target_weights=flat["p"][leaf].tolist(),
    )
    graph = helper.make_graph(
        [node],
        "forest",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info(RAW, TensorProto.FLOAT, [None, 1])],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def _no_higher(thresholds: Any) -> Any:
    """Return the largest float32 that is not above each float64 threshold: a float32 row takes the same branch then."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
