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
            constants[name] = values = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError, RuntimeError):
            return f"the tensor {name:.60}, which cannot be read"
        if values.dtype.kind in "fc" and not bool(np.isfinite(values).all()):
            return f"values that are not finite in {name:.60}"
    for node in nodes:
        if node.op_type not in _BY_SIZE:
            continue
        sizes = [constants[name] for name in node.input if name in constants]
        if any(value.dtype.kind == "i" and _asks_for(value) > LARGEST for value in sizes):
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


def _asks_for(sizes: Any) -> int:
    return math.prod(abs(int(n)) for n in sizes.ravel()[:64])


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
