"""A small writer of ONNX graphs: operators are method calls, names are made up on the way.

Graphs written by hand instead of traced hold exactly the operators that were meant, which is what makes them
small, fast and the same on every runtime.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Shape = Sequence[int | str]

OPSET = 17
IR_VERSION = 8  # the oldest that opset 17 allows, for old runtimes


class GraphWriter:
    """Collects nodes and constants; tensors are handled by name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Shape) -> str:
        """Declares a float32 input; a string in the shape is a dynamic dimension."""
        self._inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))
        return name

    def output(self, tensor: str, name: str, shape: Shape) -> None:
        """Declares ``tensor`` as the float32 output ``name``."""
        for node in self._nodes:
            for index, produced in enumerate(node.output):
                if produced == tensor:
                    node.output[index] = name
            for index, consumed in enumerate(node.input):
                if consumed == tensor:
                    node.input[index] = name
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def constant(self, value: Array | Sequence[float] | Sequence[int] | float) -> str:
        """A constant tensor; float64 becomes float32, equal constants are stored once."""
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = array.astype(np.float32)
        elif array.dtype.kind == "i":
            array = array.astype(np.int64)
        array = np.ascontiguousarray(array).reshape(array.shape)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Appends an operator and returns the names of its outputs."""
        stem = f"{operator.lower()}_{len(self._nodes)}"
        names = [stem if index == 0 else f"{stem}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=stem, **attributes))
        return names

    def op(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Appends an operator with one output and returns its name."""
        return self.node(operator, *inputs, **attributes)[0]

    def reshape(self, x: str, shape: Sequence[int]) -> str:
        """0 keeps a dimension, -1 is what remains."""
        return self.op("Reshape", x, self.constant(list(shape)))

    def slice(self, x: str, axes: Sequence[int], starts: Sequence[int], ends: Sequence[int]) -> str:
        return self.op(
            "Slice", x, self.constant(list(starts)), self.constant(list(ends)), self.constant(list(axes))
        )

    def sum(self, x: str, axes: Sequence[int], *, keepdims: bool = False) -> str:
        return self.op("ReduceSum", x, self.constant(list(axes)), keepdims=int(keepdims))

    def conv(
        self,
        x: str,
        weight: Array,
        bias: Array | None = None,
        *,
        padding: int | tuple[int, int] = 0,
        stride: int | tuple[int, int] = 1,
        group: int = 1,
    ) -> str:
        """2-D convolution; padding is the same on opposite sides, a pair is (vertical, horizontal)."""
        rows, columns = (padding, padding) if isinstance(padding, int) else padding
        strides = (stride, stride) if isinstance(stride, int) else stride
        inputs = [x, self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        return self.op(
            "Conv",
            *inputs,
            kernel_shape=list(weight.shape[2:]),
            pads=[rows, columns, rows, columns],
            strides=list(strides),
            group=group,
        )

    def model(self) -> onnx.ModelProto:
        """The finished, checked model."""
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, self._initializers)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="deepfake_train"
        )
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model
