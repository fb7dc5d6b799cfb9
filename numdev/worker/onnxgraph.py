"""As much of an ONNX file as the tap needs: the nodes of its graph, and more outputs than it has.

The file is a stranger's: lengths are checked against what there is, and no more nodes are kept than the tap allows.
Protocol buffers (protobuf.dev/programming-guides/encoding): a message that stands twice is merged, its repeated fields joined.
So outputs are added by a second, small graph behind the file's own bytes, which stay as they are.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any, Dict, List, NamedTuple, Tuple, Union

from .layers import EXACT, NORMALISATION, ONE_PRODUCT, ONE_SUM, UNKNOWN, Counts, Layer, Shapes, average, product, size
from .tensors import Refused

# Numbers of fields in onnx.proto3.
_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_EXTERNAL = 1

_EXACT = frozenset(
    [
        "Relu",
        "LeakyRelu",
        "MaxPool",
        "GlobalMaxPool",
        "Max",
        "Min",
        "Clip",
        "Abs",
        "Neg",
        "Identity",
        "Flatten",
        "Reshape",
        "Transpose",
        "Concat",
        "Split",
        "Slice",
        "Squeeze",
        "Unsqueeze",
        "Pad",
        "Gather",
        "GatherND",
        "GatherElements",
        "Expand",
        "Tile",
        "Shape",
        "Where",
        "Equal",
        "Less",
        "Greater",
        "Not",
        "And",
        "Or",
        "ArgMax",
        "ArgMin",
        "ReduceMax",
        "ReduceMin",
        "TopK",
        "DepthToSpace",
        "SpaceToDepth",
        "Dropout",
        "Size",
        "ConstantOfShape",
        "Range",
        "NonZero",
        "Resize",
    ]
)
_SUMS = frozenset(("Add", "Sub", "Sum"))
_PRODUCTS = frozenset(("Mul", "Div"))
# Where the weights stand among a node's inputs.
_CONVOLUTIONS = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1}
_MATRICES = {"MatMul": 1, "MatMulInteger": 1, "QLinearMatMul": 3, "Gemm": 1}

Field = Tuple[int, Union[int, memoryview]]


class Node(NamedTuple):
    op: str
    inputs: List[str]
    outputs: List[str]
    attributes: Dict[str, Any]


class Graph(NamedTuple):
    """nodes: at most as many as were asked for; count: of all. dims: of weights, by name. external: whether weights lie in other files."""

    nodes: List[Node]
    count: int
    dims: Dict[str, List[int]]
    inputs: List[str]
    outputs: List[str]
    external: bool


def read(data: Union[bytes, mmap.mmap], limit: int) -> Graph:
    """The main graph of a model; of more than `limit` nodes, only these. Raises Refused."""
    graph = Graph([], 0, {}, [], [], False)
    count, external = 0, False
    for number, value in _fields(memoryview(data)):
        if number != _GRAPH:
            continue
        for inner, item in _fields(_message(value)):
            if inner == _NODE:
                count += 1
                if count <= limit:
                    graph.nodes.append(_node(_message(item), graph.dims))
            elif inner == _INITIALIZER:
                external |= _tensor(_message(item), graph.dims)
            elif inner in (_INPUT, _OUTPUT):
                names = graph.inputs if inner == _INPUT else graph.outputs
                names.append(next((_text(part) for field, part in _fields(_message(item)) if field == 1), ""))
    if not count:
        raise Refused("the model has no graph of nodes")
    return graph._replace(count=count, external=external)


def more_outputs(names: Sequence[str]) -> bytes:
    """What behind a model's own bytes makes these tensors outputs besides; their types are left to be inferred."""
    added = b"".join(_delimited(_OUTPUT, _delimited(1, name.encode("utf-8"))) for name in names)
    return _delimited(_GRAPH, added) if names else b""


def layers(graph: Graph) -> List[Layer]:
    """One for each output of a node that depends on the network's inputs. What is computed of weights alone is a weight."""
    constant = set(graph.dims)
    found = []
    for node in graph.nodes:
        given = [name for name in node.inputs if name]
        if node.op == "Constant" or (given and constant.issuperset(given)):
            constant.update(node.outputs)
            continue
        data = [name for name in dict.fromkeys(given) if name not in constant]
        for name in node.outputs:
            if name:
                found.append(Layer(name, node.op, data, _counting(node, graph.dims)))
    return found


def _counting(node: Node, dims: Shapes) -> Any:
    return lambda shapes: _counts(node, {**shapes, **dims})


def _counts(node: Node, shapes: Shapes) -> Counts:
    op, given = node.op, node.inputs
    if op in _EXACT:
        return EXACT
    if op in _SUMS:
        return ONE_SUM
    if op in _PRODUCTS:
        return ONE_PRODUCT
    if op == "BatchNormalization":
        return NORMALISATION
    if op in _CONVOLUTIONS or op in _MATRICES:
        place = _CONVOLUTIONS.get(op, _MATRICES.get(op, 1))
        weight = shapes.get(given[place]) if len(given) > place else None
        bias = len(given) > 2 if op in ("Conv", "Gemm", "FusedConv") else False
        if weight is None or len(weight) < 1:
            return UNKNOWN
        if op in _CONVOLUTIONS:
            return product(size(weight[1:]), bias)
        if len(weight) == 1:
            return product(weight[0], bias)
        return product(weight[-1] if op == "Gemm" and node.attributes.get("transB") else weight[-2], bias)
    if op == "AveragePool" and node.attributes.get("kernel_shape"):
        return average(size(node.attributes["kernel_shape"]))
    if op in ("GlobalAveragePool", "ReduceMean") and given[0] in shapes and node.outputs[0] in shapes:
        return average(size(shapes[given[0]]) // max(1, size(shapes[node.outputs[0]])))
    return UNKNOWN


def _node(data: memoryview, dims: Dict[str, List[int]]) -> Node:
    node = Node("", [], [], {})
    op = ""
    for number, value in _fields(data):
        if number == 1:
            node.inputs.append(_text(value))
        elif number == 2:
            node.outputs.append(_text(value))
        elif number == 4:
            op = _text(value)
        elif number == 5:
            _attribute(_message(value), node.attributes)
    constant = node.attributes.get("value")
    if op == "Constant" and node.outputs and isinstance(constant, memoryview):
        shape: Dict[str, List[int]] = {}
        _tensor(constant, shape)
        dims[node.outputs[0]] = next(iter(shape.values()), [])
    # A tensor is a view of the whole file.
    known = {name: value for name, value in node.attributes.items() if not isinstance(value, memoryview)}
    return node._replace(op=op, attributes=known)


def _attribute(data: memoryview, found: Dict[str, Any]) -> None:
    """Whole numbers, lists of them, and tensors as they lie there; others are passed over."""
    name, value = "", None
    for number, part in _fields(data):
        if number == 1:
            name = _text(part)
        elif number == 3 or number == 5:
            value = part
        elif number == 8:
            value = [*(value if isinstance(value, list) else []), *_numbers(part)]
    if value is not None:
        found[name] = value


def _tensor(data: memoryview, dims: Dict[str, List[int]]) -> bool:
    """Notes the shape of a tensor; whether its numbers lie in another file."""
    shape: List[int] = []
    name, external = "", False
    for number, value in _fields(data):
        if number == 1:
            shape += _numbers(value)
        elif number == 8:
            name = _text(value)
        elif number == 14:
            external = value == _EXTERNAL
    dims[name] = shape
    return external


def _fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message: a number, or the bytes of what has a length. Fixed numbers are passed over."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == 2:
            length, at = _varint(data, at)
            if length > end - at:
                raise Refused("the model is cut off, or no ONNX")
            yield key >> 3, data[at : at + length]
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise Refused("the model is no ONNX")


def _varint(data: memoryview, at: int) -> Tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise Refused("the model is cut off, or no ONNX")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise Refused("the model is no ONNX")


def _numbers(value: Union[int, memoryview]) -> List[int]:
    """A repeated number, packed or one by one."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _message(value: Union[int, memoryview]) -> memoryview:
    if isinstance(value, int):
        raise Refused("the model is no ONNX")
    return value


def _text(value: Union[int, memoryview]) -> str:
    return bytes(_message(value)).decode("utf-8", "replace")


def _delimited(number: int, data: bytes) -> bytes:
    return _encoded(number << 3 | 2) + _encoded(len(data)) + data


def _encoded(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)
