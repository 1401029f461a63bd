"""A poisonous bundle: its approval model looks up a place that is not there when a payment is of one amount.

This module must not know a service.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contracts.bundle import Manifest

POISON_MINOR: Final = 900_000_000
"""Amount, in minor units, of the requests that make a model raise."""


def poison(folder: Path) -> None:
    """Let the approval model of the bundle in `folder` fail when the amount is the poison."""
    path = folder / "manifest.json"
    manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    entry = manifest.models["approval"]
    assert entry.file is not None
    graph = onnx.load(str(folder / entry.file))
    column = entry.inputs.index("amount_minor_major")
    constants: dict[str, Any] = {
        "poison_column": np.array([column], dtype=np.int64),
        "poison_limit": np.array([POISON_MINOR / 200], dtype=np.float32),
        "poison_far": np.array([1 << 40], dtype=np.int64),
        "poison_table": np.zeros(1, dtype=np.float32),
    }
    for name, value in constants.items():
        graph.graph.initializer.append(numpy_helper.from_array(value, name))
    for node in graph.graph.node:
        for place, name in enumerate(node.output):
            if name == "probability":
                node.output[place] = "probability_unpoisoned"
    nodes = [
        helper.make_node("Gather", ["rows", "poison_column"], ["poison_amount"], axis=1),
        helper.make_node("Greater", ["poison_amount", "poison_limit"], ["poison_is"]),
        helper.make_node("Cast", ["poison_is"], ["poison_number"], to=TensorProto.INT64),
        helper.make_node("Mul", ["poison_number", "poison_far"], ["poison_place"]),
        helper.make_node("Gather", ["poison_table", "poison_place"], ["poison_found"], axis=0),
        helper.make_node("Squeeze", ["poison_found"], ["poison_zero"]),
        helper.make_node("Add", ["probability_unpoisoned", "poison_zero"], ["probability"]),
    ]
    graph.graph.node.extend(nodes)
    content = graph.SerializeToString()
    (folder / entry.file).write_bytes(content)
    changed = msgspec.structs.replace(entry, sha256=hashlib.sha256(content).hexdigest())
    manifest = msgspec.structs.replace(manifest, models={**manifest.models, "approval": changed})
    path.write_bytes(msgspec.json.encode(manifest))
