"""What a serialized ONNX graph says: its nodes, their attributes and its constants, as arrays.

A reader of the protobuf wire format (https://protobuf.dev/programming-guides/encoding/) for the fields of ``onnx.proto`` that the
trainer's graphs have; the service has no `onnx`. Long lists of numbers are decoded by NumPy, not number by number: a forest has
600,000. This module must not know what an operator does.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

Value = Any
"""Of an attribute: a number, bytes, a list of bytes, or an array of float32 or int64."""

_VARINT, _EIGHT, _LENGTH, _FOUR = 0, 1, 2, 5
_LONGEST_VARINT: Final = 10
_TENSOR_TYPES: Final[dict[int, np.dtype[Any]]] = {1: np.dtype("<f4"), 7: np.dtype("<i8"), 11: np.dtype("<f8")}
_TENSOR_FIELDS: Final[dict[int, np.dtype[Any]]] = {4: np.dtype("<f4"), 10: np.dtype("<f8")}


class UnknownGraph(ValueError):
    """A graph that says what is not known here."""


class Node(NamedTuple):
    """One operation: its name, what goes in and comes out, and its attributes by name."""

    operation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Value]


class Graph(NamedTuple):
    """Nodes in the order of the graph, constants by name, and the names of what goes in and comes out."""

    nodes: tuple[Node, ...]
    constants: dict[str, npt.NDArray[Any]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read(serialized: bytes) -> Graph:
    """Return what a serialized ONNX model says.

    Raises
    ------
    UnknownGraph
        When it is none, or has something that the trainer's graphs have not.
    """
    try:
        (graph,) = [cast(bytes, content) for number, content in _fields(serialized) if number == 7]
        return _graph(graph)
    except UnknownGraph:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration, OverflowError) as error:
        # Bytes that are no such message trip the reader somewhere.
        msg = f"the graph cannot be read: {type(error).__name__}"
        raise UnknownGraph(msg) from error


def _graph(content: bytes) -> Graph:
    nodes, constants, inputs, outputs = [], {}, [], []
    for number, value in _fields(content):
        match number:
            case 1:
                nodes.append(_node(value))
            case 5:
                name, constant = _tensor(value)
                constants[name] = constant
            case 11:
                inputs.append(_name(value))
            case 12:
                outputs.append(_name(value))
            case 2 | 10 | 13:
                # Its name, a description, what is known of shapes in between.
                pass
            case _:
                msg = f"the graph has a field {number}"
                raise UnknownGraph(msg)
    return Graph(tuple(nodes), constants, tuple(inputs), tuple(outputs))


def _name(content: bytes) -> str:
    return next(str(value, "utf-8") for number, value in _fields(content) if number == 1)


def _node(content: bytes) -> Node:
    inputs, outputs, operation, attributes = [], [], "", {}
    for number, value in _fields(content):
        match number:
            case 1:
                inputs.append(value.decode())
            case 2:
                outputs.append(value.decode())
            case 4:
                operation = value.decode()
            case 5:
                name, told = _attribute(value)
                attributes[name] = told
            case 3 | 6 | 7:
                # Its own name, a description; the domain: no operator has the name of another domain's.
                pass
            case _:
                msg = f"a node has a field {number}"
                raise UnknownGraph(msg)
    return Node(operation, tuple(inputs), tuple(outputs), attributes)


def _attribute(content: bytes) -> tuple[str, Value]:
    """Return name and value of an attribute. Its numbers lie one after the other, each behind the tag of its field, or packed."""
    name, at = "", 0
    texts: list[bytes] = []
    value: Value = None
    while at < len(content):
        number, wire, start = _tag(content, at)
        if number == 8 and wire == _VARINT:
            value, at = _repeated(content, at)
            continue
        if number == 7 and wire == _FOUR:
            count = _run(content, at, content[at], 5)
            value = np.frombuffer(content, np.uint8, 5 * count, at).reshape(-1, 5)[:, 1:].copy().view("<f4").ravel()
            at += 5 * count
            continue
        found, at = _content(content, wire, start)
        match number:
            case 1:
                name = found.decode()
            case 2:
                value = float(np.frombuffer(found, "<f4")[0])
            case 3:
                value = _signed(found)
            case 4:
                value = found
            case 7:
                value = np.frombuffer(found, "<f4")
            case 8:
                value = _packed(found)
            case 9:
                texts.append(found)
            case 13 | 20:
                pass
            case _:
                msg = f"an attribute has a field {number}"
                raise UnknownGraph(msg)
    return name, texts or value


def _run(content: bytes, at: int, tag: int, stride: int) -> int:
    """Return how many fields of one tag and length lie there one after the other."""
    tags = np.frombuffer(content, np.uint8, -1, at)[::stride]
    others = np.flatnonzero(tags != tag)
    count = int(others[0]) if len(others) else len(tags)
    if at + count * stride > len(content):
        msg = "a list of numbers is cut off"
        raise UnknownGraph(msg)
    return count


def _repeated(content: bytes, at: int) -> tuple[Ints, int]:
    """Return the numbers of the varint fields of one tag that lie there, and where they end."""
    there = np.frombuffer(content, np.uint8, -1, at)
    # A byte below 0x80 ends a varint: by turns that is a tag, of one byte here, and a number.
    ends = np.flatnonzero(there < 0x80)
    ends = ends[: len(ends) // 2 * 2]
    tags, last = ends[0::2], ends[1::2]
    begins = np.concatenate(([0], last[:-1] + 1))
    others = np.flatnonzero((tags != begins) | (there[tags] != there[0]))
    count = int(others[0]) if len(others) else len(tags)
    numbers = _varints(there, tags[:count] + 1, last[:count])
    return numbers, at + int(last[count - 1]) + 1


def _packed(content: bytes) -> Ints:
    there = np.frombuffer(content, np.uint8)
    last = np.flatnonzero(there < 0x80)
    if len(there) and (not len(last) or last[-1] != len(there) - 1):
        msg = "a list of numbers is cut off"
        raise UnknownGraph(msg)
    return _varints(there, np.concatenate(([0], last[:-1] + 1))[: len(last)], last)


def _varints(there: npt.NDArray[np.uint8], first: npt.NDArray[np.intp], last: npt.NDArray[np.intp]) -> Ints:
    lengths = last - first + 1
    longest = int(lengths.max(initial=0))
    if longest > _LONGEST_VARINT:
        msg = "a number is longer than 64 bits"
        raise UnknownGraph(msg)
    numbers = np.zeros(len(first), dtype=np.uint64)
    for place in range(longest):
        longer = np.flatnonzero(lengths > place)
        bits = (there[first[longer] + place] & 0x7F).astype(np.uint64)
        numbers[longer] |= bits << np.uint64(7 * place)
    made: Ints = numbers.view(np.int64)
    return made


def _tensor(content: bytes) -> tuple[str, npt.NDArray[Any]]:
    """Return name and content of a constant."""
    name, kind = "", 0
    dims: list[int] = []
    numbers: npt.NDArray[Any] | None = None
    for number, value in _fields(content):
        match number:
            case 1:
                dims += [_signed(value)] if isinstance(value, int) else _packed(value).tolist()
            case 2:
                kind = value
            case 4 | 10:
                numbers = np.frombuffer(value, _TENSOR_FIELDS[number])
            case 7:
                numbers = _packed(value)
            case 8:
                name = value.decode()
            case 9:
                numbers = np.frombuffer(value, _TENSOR_TYPES.get(kind, np.dtype("u1")))
            case 12:
                pass
            case _:
                msg = f"a constant has a field {number}"
                raise UnknownGraph(msg)
    if numbers is None and kind in _TENSOR_TYPES:
        numbers = np.empty(0, _TENSOR_TYPES[kind])
    if numbers is None or numbers.dtype != _TENSOR_TYPES.get(kind) or np.prod(dims, dtype=np.int64) != len(numbers):
        msg = f"the constant {name} is of type {kind}, or not of its shape"
        raise UnknownGraph(msg)
    return name, numbers.reshape(dims)


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield number and content of each field of a message."""
    at = 0
    while at < len(content):
        number, wire, start = _tag(content, at)
        value, at = _content(content, wire, start)
        yield number, value


def _tag(content: bytes, at: int) -> tuple[int, int, int]:
    tag, start = _varint(content, at)
    return tag >> 3, tag & 7, start


def _content(content: bytes, wire: int, at: int) -> tuple[Any, int]:
    """Return what a field holds, an int or bytes, and where it ends."""
    if wire == _VARINT:
        return _varint(content, at)
    if wire == _LENGTH:
        length, at = _varint(content, at)
    elif wire in (_FOUR, _EIGHT):
        length = 4 if wire == _FOUR else 8
    else:
        msg = f"a field is of the wire type {wire}"
        raise UnknownGraph(msg)
    if at + length > len(content):
        msg = "a field is cut off"
        raise UnknownGraph(msg)
    return content[at : at + length], at + length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
        if shift >= 7 * _LONGEST_VARINT:
            msg = "a number is longer than 64 bits"
            raise UnknownGraph(msg)


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number
