"""What a graph from a file must not hold: checked in its bytes, before an engine sees them.

An engine does what a graph says: it opens the files that tensors are said to lie in, looks for libraries of
operators, makes arrays of any size. Files of ``anyrestore export`` ask for none of that, so a file that does
was made, or changed, by something else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import numpy as np

LARGEST = 1 << 32
"""Values of an array that a graph may ask for by its size alone."""
_BY_SIZE = (
    "ConstantOfShape",
    "Expand",
    "Tile",
    "RandomNormal",
    "RandomUniform",
    "Range",
    "OneHot",
    "EyeLike",
)


def oddity(onnx: Any, model: Any) -> str | None:
    """What a graph holds that none of ours does, in words; None if there is nothing.

    Args:
        onnx: the package.
        model: its ModelProto.
    """
    if len(model.functions) or len(model.training_info):
        return "functions of its own"
    graphs = list(_graphs(onnx, model.graph))
    nodes = [node for graph in graphs for node in graph.node]
    if foreign := next((node for node in nodes if node.domain not in ("", "ai.onnx")), None):
        return f"the operator {foreign.op_type:.60} of {foreign.domain:.60}"
    if any(len(graph.sparse_initializer) for graph in graphs):
        return "sparse tensors"
    constants = dict[str, Any]()
    for name, tensor in _tensors(onnx, graphs):
        if tensor.data_location != onnx.TensorProto.DEFAULT or len(tensor.external_data):
            return f"the tensor {name:.60} in another file"
        if min(tensor.dims, default=0) < 0 or math.prod(tensor.dims) > 8 * tensor.ByteSize():
            return f"the tensor {name:.60}, larger than its numbers"
        try:
            constants[name] = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, RuntimeError):
            return f"the tensor {name:.60}, which cannot be read"
    constants |= dict(_plain(nodes))
    for name, values in constants.items():
        if values.dtype.kind in "fc" and not bool(np.isfinite(values).all()):
            return f"values that are not finite in {name:.60}"
    for node in nodes:
        if any(_asks_for(node.op_type, sizes) > LARGEST for sizes in _sizes(node, constants)):
            return f"a {node.op_type} of impossible size"
    return None


def is_possible(about: Mapping[str, Any]) -> bool:
    """Whether a card's fields are of the right types and can be true of a network."""
    width, need = about.get("instruction_width"), about.get("bytes_per_pixel")
    multiple = about.get("size_multiple")
    return (
        all(isinstance(about.get(key, ""), str) for key in ("name", "architecture", "precision", "version"))
        and all(isinstance(about.get(key) or "", str) for key in ("weights_sha256", "license"))
        and isinstance(about.get("square", False), bool)
        and type(multiple) is int
        and 1 <= multiple <= 4096
        and type(need) in (int, float)
        and 0 < cast("float", need) < 1e9
        and (width is None or (type(width) is int and 1 <= width <= 1 << 16))
    )


def _sizes(node: Any, constants: Mapping[Any, Any]) -> list[Any]:
    """What says how large an array is that an operator makes, as far as it stands in the graph.

    Names are text, or bytes where they are no UTF-8.
    """
    if node.op_type not in _BY_SIZE:
        return []
    stated = [np.array(attribute.ints, np.int64) for attribute in node.attribute if attribute.name == "shape"]
    return stated + [constants[name] for name in node.input if name in constants]


def _asks_for(operator: str, sizes: Any) -> int:
    """Values that an operator makes of constant sizes; a range has as many as its limit, at steps of 1."""
    if sizes.dtype.kind != "i" and not (operator == "Range" and sizes.dtype.kind == "f"):
        return 0
    numbers = [abs(int(n)) for n in sizes.ravel()[:64]]
    return max(numbers, default=0) if operator == "Range" else math.prod(numbers)


def _plain(nodes: list[Any]) -> Iterator[tuple[str, Any]]:
    """Constants that are written as numbers, not as tensors."""
    for node in nodes:
        if node.op_type != "Constant" or not node.output:
            continue
        for attribute in node.attribute:
            match attribute.name:
                case "value_int":
                    yield node.output[0], np.array([attribute.i])
                case "value_ints":
                    yield node.output[0], np.array(attribute.ints, np.int64)
                case "value_float":
                    yield node.output[0], np.array([attribute.f])
                case "value_floats":
                    yield node.output[0], np.array(attribute.floats)
                case _:
                    pass


def _graphs(onnx: Any, graph: Any) -> Iterator[Any]:
    """A graph and all that lie in its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g,) if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs:
                yield from _graphs(onnx, inner)


def _tensors(onnx: Any, graphs: list[Any]) -> Iterator[tuple[str, Any]]:
    """Every tensor of some graphs with the name of what it is the value of."""
    for graph in graphs:
        for tensor in graph.initializer:
            yield tensor.name, tensor
        for node in graph.node:
            name = node.output[0] if node.output else node.name
            for attribute in node.attribute:
                held = attribute.type == onnx.AttributeProto.TENSOR
                for tensor in (attribute.t,) if held else attribute.tensors:
                    yield name, tensor
