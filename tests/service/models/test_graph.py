"""Graphs read without `onnx`: the same nodes, attributes and constants as `onnx` reads, however encoded; damage is refused."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from service.models.active import POINTER
from service.models.graph import UnknownGraph, read

INT64 = st.integers(-(2**63), 2**63 - 1)


def same(serialized: bytes) -> None:
    """Compare what is read with what `onnx` reads."""
    found, told = read(serialized), onnx.load_from_string(serialized).graph
    assert found.inputs == tuple(each.name for each in told.input)
    assert found.outputs == tuple(each.name for each in told.output)
    for node, other in zip(found.nodes, told.node, strict=True):
        assert (node.operation, node.inputs, node.outputs) == (other.op_type, tuple(other.input), tuple(other.output))
        assert set(node.attributes) == {each.name for each in other.attribute}
        for each in other.attribute:
            expected = helper.get_attribute_value(each)
            value = node.attributes[each.name]
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, np.array(expected, dtype=value.dtype))
            else:
                assert value == expected
    assert set(found.constants) == {each.name for each in told.initializer}
    for each in told.initializer:
        expected = numpy_helper.to_array(each)
        np.testing.assert_array_equal(found.constants[each.name], expected)
        assert (found.constants[each.name].shape, found.constants[each.name].dtype) == (expected.shape, expected.dtype)


def model(constants: Any = (), **attributes: Any) -> bytes:
    node = helper.make_node("Thing", ["rows"], ["probability"], **attributes)
    value = helper.make_tensor_value_info
    ends = [value("rows", 1, [None, 3])], [value("probability", 1, [None])]
    graph = helper.make_graph([node], "model", *ends, initializer=list(constants))
    serialized: bytes = helper.make_model(graph).SerializeToString()
    return serialized


@pytest.mark.parametrize("name", ["approval", "risk", "routing", "retry"])
def test_the_trainers_graphs_are_read_as_onnx_reads_them(name: str, bundle_shelf: Path) -> None:
    same((bundle_shelf / (bundle_shelf / POINTER).read_text().strip() / f"{name}.onnx").read_bytes())


@settings(max_examples=200, deadline=None)
@given(
    ints=st.lists(INT64, min_size=1),
    floats=st.lists(st.floats(width=32, allow_nan=False), min_size=1),
    texts=st.lists(st.binary(), min_size=1),
    one=INT64,
    ratio=st.floats(width=32, allow_nan=False),
)
def test_every_sort_of_attribute(
    ints: list[int], floats: list[float], texts: list[bytes], one: int, ratio: float
) -> None:
    same(model(ints=ints, floats=floats, texts=texts, one=one, ratio=ratio, text=texts[0]))


@settings(max_examples=100, deadline=None)
@given(numbers=st.lists(INT64, max_size=12), raw=st.booleans())
def test_every_sort_of_constant(numbers: list[int], raw: bool) -> None:
    made = []
    for kind, dtype in ((TensorProto.INT64, np.int64), (TensorProto.FLOAT, np.float32), (TensorProto.DOUBLE, float)):
        values = np.array(numbers, dtype=np.int64).astype(dtype)
        given_ = values.tobytes() if raw else values
        made.append(helper.make_tensor(f"constant_{kind}", kind, [1, len(numbers)], given_, raw=raw))
    same(model(made))


def test_packed_numbers_of_an_attribute_are_read_too() -> None:
    plain = model(ints=[1, 300])
    packed = plain.replace(b"\x40\x01\x40\xac\x02", b"\x42\x03\x01\xac\x02")
    assert packed != plain
    (node,) = read(packed).nodes
    assert node.attributes["ints"].tolist() == [1, 300]


@pytest.mark.parametrize(
    "constant",
    [
        numpy_helper.from_array(np.array([b"a"], dtype=object), "text"),
        helper.make_tensor("byte", TensorProto.UINT8, [1], [1]),
        helper.make_tensor("half", TensorProto.FLOAT16, [1], [1.0]),
    ],
    ids=["strings", "bytes", "half"],
)
def test_constants_of_other_types_are_refused(constant: Any) -> None:
    with pytest.raises(UnknownGraph):
        read(model([constant]))


def test_a_subgraph_is_refused() -> None:
    inner = helper.make_graph([], "inner", [], [])
    with pytest.raises(UnknownGraph, match="an attribute has a field 6"):
        read(model(body=inner))


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_read_but_never_trips(data: st.DataObject) -> None:
    whole = model([helper.make_tensor("c", TensorProto.INT64, [2], [5, -6])], ints=[1, 2, 300], floats=[1.0, 2.0])
    damaged = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    if damaged:
        for _ in range(data.draw(st.integers(0, 3))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnknownGraph):
        assert len(read(bytes(damaged)).nodes) <= len(damaged)
