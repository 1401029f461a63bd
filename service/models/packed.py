"""The trees of a TreeEnsembleRegressor, packed so that a walk through them stays in few lines of memory.

A node is 8 bytes: its threshold, the column it asks about, and how far on its children lie; the two are neighbours, and the tree
lies in levels, its first three in one line of 64 bytes. A leaf leads to itself; its threshold is NaN, below which nothing is, and
bears the leaf's number. What leaves weigh lies apart: the two answers, and the few moves of each.

This module must not know what is done with the sums.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from service.models.graph import Node, UnknownGraph

NODE: Final = np.dtype([("threshold", "<f4"), ("feature", "<u2"), ("skip", "<u2")])
_LEAF: Final = 0x7FC00000
_MOST_LEAVES: Final = 1 << 22
_MOST_SKIPPED: Final = 1 << 16
_MOST_COLUMNS: Final = 1 << 15
_MOST_LEVELS: Final = 64
_PER_LINE: Final = 8
_ANSWERS: Final = 2
_SIDES: Final = ("true", "false")
_MODES: Final = {b"BRANCH_LEQ": 0, b"BRANCH_LT": 1, b"LEAF": 2}
_ATTRIBUTES: Final = frozenset(
    (
        "aggregate_function", "base_values", "n_targets", "nodes_falsenodeids", "nodes_featureids", "nodes_hitrates",
        "nodes_missing_value_tracks_true", "nodes_modes", "nodes_nodeids", "nodes_treeids", "nodes_truenodeids",
        "nodes_values", "post_transform", "target_ids", "target_nodeids", "target_treeids", "target_weights",
    )
)  # fmt: skip

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Packed(NamedTuple):
    """Trees, packed.

    Attributes
    ----------
    nodes
        All of them, `NODE`; number 0 is a leaf that no tree has.
    roots, depths
        Of each tree: which node is its root, and the steps to its deepest leaf.
    values
        Shape (leaves, 2): the two answers.
    starts, groups, steps
        The moves of leaf i are `steps[starts[i]:starts[i + 1]]`, of as many `groups`.
    told
        How many groups there are.
    bases
        What is added to the two answers.
    tracks
        Whether a missing value goes, at some node, where the condition holds.
    width
        How many columns a row must have.
    """

    nodes: npt.NDArray[Any]
    roots: list[int]
    depths: list[int]
    values: Floats
    starts: npt.NDArray[np.int32]
    groups: npt.NDArray[np.uint8]
    steps: Floats
    told: int
    bases: tuple[float, float]
    tracks: bool
    width: int


def pack(node: Node, columns: Sequence[int]) -> Packed:
    """Return the packed form of a TreeEnsembleRegressor whose first two targets are answers and whose others are moves.

    Parameters
    ----------
    columns
        Where in a row each of the graph's inputs is.

    Raises
    ------
    UnknownGraph
        When it is not a forest of such trees, or is larger than the packed form can say. Attributes that are missing, or of
        another kind or length, raise what they happen to.
    """
    given = node.attributes
    known = (
        node.operation == "TreeEnsembleRegressor"
        and _ATTRIBUTES.issuperset(given)
        and given.get("aggregate_function", b"SUM") == b"SUM"
        and given.get("post_transform", b"NONE") == b"NONE"
    )
    _expect(known, "an ensemble of trees that are added up")
    return _pack(given, np.asarray(columns))


def _pack(given: dict[str, Any], columns: Ints) -> Packed:
    modes = np.array([_MODES[mode] for mode in given["nodes_modes"]])
    count, is_leaf = len(modes), modes == _MODES[b"LEAF"]
    trees = given["nodes_treeids"]
    place = _places(trees, given["nodes_nodeids"])
    true, false = (np.where(is_leaf, -1, place(trees, given[f"nodes_{side}nodeids"], ~is_leaf)) for side in _SIDES)
    order, depth = _levels(trees, is_leaf, true, false)
    _expect(len(order) == count, "trees whose nodes all hang on a root")
    # A root is the second of a line, so that two neighbours never lie in two.
    first_of_tree = np.flatnonzero(np.diff(trees[order], prepend=-1))
    sizes = np.diff(first_of_tree, append=count)
    begins = np.cumsum(np.concatenate(([0], -(-(sizes + 1) // _PER_LINE) * _PER_LINE)))
    at = np.empty(count, dtype=np.int64)
    at[order] = np.arange(count) + np.repeat(begins[:-1] + 1 - first_of_tree, sizes)

    inputs = np.where(is_leaf, 0, given["nodes_featureids"])
    _expect(inputs.min() >= 0, "inputs that are counted from 0")
    features = columns[inputs]
    tracks = ~is_leaf & np.asarray(given.get("nodes_missing_value_tracks_true", np.zeros(count)), dtype=bool)
    skips = np.where(is_leaf, 0, at[false] - at)
    _expect(skips.min() >= 0 and skips.max() < _MOST_SKIPPED, "smaller trees")
    _expect(features.min() >= 0 and features.max() < _MOST_COLUMNS, "fewer columns")
    numbers = np.cumsum(is_leaf) - 1
    _expect(numbers[-1] < _MOST_LEAVES, "fewer leaves")
    thresholds = _thresholds(given["nodes_values"], modes)
    nodes = np.zeros(int(begins[-1]), dtype=NODE)
    nodes["threshold"].view(np.uint32)[:] = _LEAF
    nodes["threshold"].view(np.uint32)[at] = np.where(is_leaf, _LEAF | numbers, thresholds.view(np.uint32))
    nodes["feature"][at] = np.where(is_leaf, 0, features | np.where(tracks, _MOST_COLUMNS, 0))
    nodes["skip"][at] = skips

    bearing = place(given["target_treeids"], given["target_nodeids"], np.ones(len(given["target_ids"]), dtype=bool))
    _expect(is_leaf[bearing].all(), "weights of leaves")
    return Packed(
        nodes=nodes,
        roots=(begins[:-1] + 1).tolist(),
        depths=np.maximum.reduceat(depth[order], first_of_tree).tolist(),
        tracks=bool(tracks.any()),
        width=int(columns.max()) + 1,
        **_weights(given, numbers[bearing], int(is_leaf.sum())),
    )


def _thresholds(values: Floats, modes: Ints) -> Floats:
    """Return thresholds up to which a condition holds: below t is up to the number before t."""
    inner, below = values[modes != _MODES[b"LEAF"]], modes == _MODES[b"BRANCH_LT"]
    _expect(not np.isnan(inner).any(), "thresholds that are numbers")
    _expect(not np.isneginf(values[below]).any(), "thresholds that something is below")
    return np.where(below, np.nextafter(values, np.float32(-np.inf)), values).astype(np.float32)


def _weights(given: dict[str, Any], leaves: Ints, count: int) -> dict[str, Any]:
    """Return what the leaves weigh: of each weight which leaf bears it, and how many leaves there are."""
    targets, weights, wide = given["target_ids"], given["target_weights"], given["n_targets"]
    _expect(len(weights) == len(targets) and (targets >= 0).all() and (targets < wide).all(), "weights of its targets")
    pairs = leaves * wide + targets
    _expect(len(np.unique(pairs)) == len(pairs) and np.isfinite(weights).all(), "one number for leaf and target")
    bases = np.asarray(given.get("base_values", np.zeros(wide)), dtype=np.float32)
    _expect(len(bases) == wide and np.isfinite(bases).all(), "a base for each target")
    is_move = targets >= _ANSWERS
    # What has no weight has no base either for ONNX Runtime; here everything has both.
    _expect(np.count_nonzero(~is_move) == count * _ANSWERS and not bases[_ANSWERS:].any(), "answers of every leaf")
    values = np.zeros((count, _ANSWERS), dtype=np.float32)
    values[leaves[~is_move], targets[~is_move]] = weights[~is_move]
    moves = np.flatnonzero(is_move)[np.argsort(leaves[is_move], kind="stable")]
    return {
        "values": values,
        "starts": np.searchsorted(leaves[moves], np.arange(count + 1)).astype(np.int32),
        "groups": (targets[moves] - _ANSWERS).astype(np.uint8),
        "steps": weights[moves].astype(np.float32),
        "bases": tuple(bases[:_ANSWERS].tolist()),
        "told": wide - _ANSWERS,
    }


def _places(trees: Ints, ids: Ints) -> Any:
    """Return what finds nodes by tree and id."""
    span = int(ids.max()) + 1
    _expect(int(ids.min()) >= 0 and int(trees.min()) >= 0, "nodes that are counted from 0")
    keys = trees * span + ids
    by_key = np.argsort(keys, kind="stable")
    found = keys[by_key]
    _expect(bool((np.diff(found) > 0).all()), "one node of an id")

    def place(trees: Ints, ids: Ints, which: npt.NDArray[np.bool_]) -> Ints:
        wanted = trees * span + ids
        at = np.minimum(np.searchsorted(found, wanted), len(found) - 1)
        _expect(bool(((found[at] == wanted) & (ids >= 0) & (ids < span))[which].all()), "nodes that are there")
        made: Ints = by_key[at]
        return made

    return place


def _levels(trees: Ints, is_leaf: npt.NDArray[np.bool_], true: Ints, false: Ints) -> tuple[Ints, Ints]:
    """Return the nodes tree by tree, in each by level, children beside each other; and how deep each node lies."""
    is_root = np.ones(len(trees), dtype=bool)
    is_root[true[~is_leaf]] = is_root[false[~is_leaf]] = False
    level = np.flatnonzero(is_root)
    numbers, firsts = np.unique(trees, return_index=True)
    _expect(np.array_equal(np.sort(trees[level]), numbers), "one root of a tree")
    # Sums are added up in the order in which the trees come.
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[np.argsort(firsts)] = np.arange(len(numbers))
    found, depth = [], np.zeros(len(trees), dtype=np.int64)
    for steps in range(_MOST_LEVELS):
        depth[level] = steps
        found.append(level)
        going = level[~is_leaf[level]]
        if not len(going) or sum(map(len, found)) > len(trees):
            break
        level = np.stack([false[going], true[going]], axis=1).ravel()
        _expect(bool((trees[level] == np.repeat(trees[going], 2)).all()), "children of the same tree")
    nodes = np.concatenate(found)
    _expect(len(np.unique(nodes)) == len(nodes), "nodes with one parent")
    return nodes[np.argsort(rank[np.searchsorted(numbers, trees[nodes])], kind="stable")], depth


def _expect(holds: bool | np.bool_, what: str) -> None:
    if not holds:
        msg = f"expected {what}"
        raise UnknownGraph(msg)
