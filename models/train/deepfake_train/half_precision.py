"""Half precision for an exported graph: weights and the convolution trunk, not what summarises it at the end.

Written for classifiers: convolutions, elementwise operators, pooling, a linear layer. The types are in the
graph, as runtimes with strongly typed networks want it; inputs and outputs stay float32.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper, numpy_helper

from .onnx_graph import to_half

# Pooling, concatenation and the linear layer are not in it: they cost nothing, and long sums round badly.
TRUNK = {"Conv", "Clip", "Relu", "Add", "Mul"}


def half_trunk(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose operators of ``TRUNK`` compute in half precision, and all others in float32.

    Raises ``ValueError`` if a constant feeds both, or is too large for half precision.
    """
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    # tensors that come out of the trunk
    narrow = {name for node in graph.node if node.op_type in TRUNK for name in node.output}
    wanted: dict[str, bool] = {}
    nodes: list[onnx.NodeProto] = []
    casts: set[str] = set()
    for original in graph.node:
        if original.op_type == "Constant":
            continue
        node = onnx.NodeProto()
        node.CopyFrom(original)
        half = node.op_type in TRUNK
        for index, name in enumerate(node.input):
            if name in constants:
                if wanted.setdefault(name, half) != half:
                    raise ValueError(f"constant '{name}' is needed in both precisions")
            elif name and (name in narrow) != half:
                node.input[index] = cast = f"{name}_{'half' if half else 'full'}"
                if cast not in casts:
                    casts.add(cast)
                    to = TensorProto.FLOAT16 if half else TensorProto.FLOAT
                    nodes.append(helper.make_node("Cast", [name], [cast], name=cast, to=to))
        nodes.append(node)
    if narrow & {value.name for value in graph.output}:
        raise ValueError("an output in the trunk would not be float32")
    initializers = []
    for name, half in wanted.items():
        array = numpy_helper.to_array(constants[name])
        initializers.append(numpy_helper.from_array(to_half(array) if half else array, name))
    copy = helper.make_graph(nodes, graph.name, graph.input, graph.output, initializers)
    result = helper.make_model(copy, opset_imports=model.opset_import, producer_name="deepfake_train")
    result.ir_version = model.ir_version
    onnx.checker.check_model(result, full_check=True)
    return result
