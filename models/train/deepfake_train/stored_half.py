"""Graphs whose weights are stored in half precision and used in float32: half the size, the same operators.

Rounding moves a weight by at most one part in 2,048. Runtimes fold the conversions when they load the graph.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper

from .onnx_graph import to_half

LEAST_VALUES = 1024
"""Smaller constants stay as they are: coordinates, biases, shapes."""


def stored_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that stores its large float32 constants in half precision.

    Raises ``ValueError`` if one of them is too large for it.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    casts = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if tensor.data_type != TensorProto.FLOAT or array.size < LEAST_VALUES:
            continue
        name, stored = tensor.name, f"{tensor.name}_stored"
        casts.append(helper.make_node("Cast", [stored], [name], name=stored, to=TensorProto.FLOAT))
        tensor.CopyFrom(numpy_helper.from_array(to_half(array), stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(copy, full_check=True)
    return copy
