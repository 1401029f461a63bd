"""Boosted trees without bare leaves, for the converter.

onnxmltools (1.16) answers wrongly where a boosted tree is a single leaf, which is what few rows give. A stump whose two
leaves weigh the same says the same and is converted rightly.

This module must not know what the trees are for.
"""

import json
from typing import Any

from xgboost import XGBClassifier

_NO_PARENT = 2147483647


def without_bare_leaves(boosted: XGBClassifier) -> XGBClassifier:
    """Return `boosted`, or a copy that answers the same and in which every tree splits at least once."""
    model = json.loads(bytes(boosted.get_booster().save_raw("json")))
    trees: list[dict[str, Any]] = model["learner"]["gradient_booster"]["model"]["trees"]
    bare = [tree for tree in trees if len(tree["left_children"]) == 1]
    if not bare:
        return boosted
    for tree in bare:
        weight = tree["split_conditions"][0]
        half = tree["sum_hessian"][0] / 2
        tree |= {
            "left_children": [1, -1, -1],
            "right_children": [2, -1, -1],
            "parents": [_NO_PARENT, 0, 0],
            "split_indices": [0, 0, 0],
            "split_conditions": [0.0, weight, weight],
            "split_type": [0, 0, 0],
            "default_left": [0, 0, 0],
            "base_weights": [weight] * 3,
            "loss_changes": [0.0, 0.0, 0.0],
            "sum_hessian": [2 * half, half, half],
        }
        tree["tree_param"]["num_nodes"] = "3"
    copy = XGBClassifier()
    copy.load_model(bytearray(json.dumps(model).encode()))
    return copy
