"""A small writer of ONNX graphs: operators are method calls, names are made up on the way.

Graphs written by hand instead of traced hold exactly the operators that were meant, which is what makes them
small, fast and the same on every runtime.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from .manifest import half_role

Array = NDArray[Any]
Shape = Sequence[int | str]

OPSET = 17
IR_VERSION = 8  # the oldest that opset 17 allows, for old runtimes
LARGEST_HALF = 65504.0


class OutOfHalfRangeError(ValueError):
    """A constant is too large for half precision."""


def to_half(array: Array) -> Array:
    """In half precision, rounded from what was given; numbers that would become infinite are refused."""
    if array.size and np.abs(array).max() > LARGEST_HALF:
        raise OutOfHalfRangeError(f"{np.abs(array).max():.3g} is too large for half precision")
    return array.astype(np.float16)


class GraphWriter:
    """Collects nodes and constants; tensors are handled by name.

    With ``half``, what lies between ``narrow`` and ``widen`` is computed in half precision, by types that are
    written in the graph, as runtimes with strongly typed networks want it. Without, the two do nothing.
    """

    def __init__(self, name: str, *, half: bool = False) -> None:
        self.name, self.half = name, half
        self._narrow: set[str] = set()
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
        if tensor in self._narrow:
            raise ValueError(f"output '{name}' has to be widened to float32")
        for node in self._nodes:
            for index, produced in enumerate(node.output):
                if produced == tensor:
                    node.output[index] = name
            for index, consumed in enumerate(node.input):
                if consumed == tensor:
                    node.input[index] = name
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)))

    def constant(
        self, value: Array | Sequence[float] | Sequence[int] | float, *, like: str | None = None
    ) -> str:
        """A constant tensor; equal constants are stored once.

        Real numbers get the type of the tensor ``like``, else float32.
        """
        array = np.asarray(value)
        if array.dtype.kind == "f":
            array = to_half(array) if like in self._narrow else array.astype(np.float32)
        elif array.dtype.kind == "i":
            array = array.astype(np.int64)
        array = np.ascontiguousarray(array).reshape(array.shape)
        # of the content only a digest: the constants themselves are most of a model
        key = (array.dtype.str, array.shape, hashlib.sha256(array.data).digest())
        if key not in self._constants:
            self._constants[key] = f"constant_{len(self._constants)}"
            self._initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def node(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        """Appends an operator and returns the names of its outputs."""
        stem = f"{operator.lower()}_{len(self._nodes)}"
        names = [stem if index == 0 else f"{stem}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=stem, **attributes))
        if not self._narrow.isdisjoint(inputs):
            self._narrow.update(names)
        return names

    def narrow(self, x: str) -> str:
        """From here on in half precision, if the graph is to use it."""
        if not self.half or x in self._narrow:
            return x
        y = self.op("Cast", x, to=TensorProto.FLOAT16)
        self._narrow.add(y)
        return y

    def widen(self, x: str) -> str:
        """From here on in float32, whatever came before."""
        if x not in self._narrow:
            return x
        y = self.op("Cast", x, to=TensorProto.FLOAT)
        self._narrow.discard(y)
        return y

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
        """2-D convolution in the type of ``x``.

        Padding is the same on opposite sides, a pair is (vertical, horizontal).
        """
        rows, columns = (padding, padding) if isinstance(padding, int) else padding
        strides = (stride, stride) if isinstance(stride, int) else stride
        inputs = [x, self.constant(weight, like=x)] + ([] if bias is None else [self.constant(bias, like=x)])
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


def save_graphs(graphs: Mapping[str, onnx.ModelProto], folder: Path, *, half: bool = False) -> dict[str, str]:
    """Writes graphs by role, as half-precision twins if ``half``; their files by the manifest's roles."""
    files = {}
    for role, graph in graphs.items():
        name = half_role(role) if half else role
        files[name] = f"{name}.onnx"
        onnx.save(graph, folder / files[name])
    return files
