"""A network of the zoo in PyTorch, so that a loss can look through it: its ONNX graph, operator by operator.

Only what FaceMesh consists of is known. The weights stay as they are; gradients go to the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

Attributes = Mapping[str, Any]


class UnknownOperatorError(ValueError):
    """A graph has an operator, or a form of one, that is not known here, or lacks an output."""


class OnnxNetwork(nn.Module):
    """The graph in a file: one input, and as many outputs as are asked for by name.

    Raises ``UnknownOperatorError`` for outputs that are not there, or hang on anything else than what is in
    ``_OPERATORS``.
    """

    def __init__(self, path: Path, outputs: tuple[str, ...]) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        self._input, self._outputs = graph.input[0].name, outputs
        self._nodes = [
            (node.op_type, tuple(node.input), node.output[0], _attributes(node))
            for node in _needed(graph, outputs)
        ]
        for operator, _, name, _ in self._nodes:
            if operator not in _OPERATORS:
                raise UnknownOperatorError(f"{path}: no '{operator}', which '{name}' wants, in {__name__}")
        used = {name for _, names, _, _ in self._nodes for name in names}
        self._constants: dict[str, str] = {}
        for number, tensor in enumerate(t for t in graph.initializer if t.name in used):
            # names of ONNX hold what names of buffers must not
            self._constants[tensor.name] = name = f"constant{number}"
            self.register_buffer(name, torch.from_numpy(np.array(numpy_helper.to_array(tensor))))

    def forward(self, x: Tensor) -> list[Tensor]:
        """The outputs, in the order in which they were asked for."""
        values = {self._input: x}
        for operator, names, output, attributes in self._nodes:
            given = [
                values[name] if name in values else self.get_buffer(self._constants[name]) for name in names
            ]
            values[output] = _OPERATORS[operator](given, attributes)
        return [values[name] for name in self._outputs]


def _needed(graph: onnx.GraphProto, outputs: tuple[str, ...]) -> list[onnx.NodeProto]:
    """The nodes that the outputs hang on, in the order of the graph."""
    wanted, kept = set(outputs), []
    for node in reversed(graph.node):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    missing = set(outputs) - {node.output[0] for node in kept}
    if missing:
        raise UnknownOperatorError(f"the graph has no output {sorted(missing)[0]}")
    return kept[::-1]


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _padded(x: Tensor, pads: list[int], value: float = 0.0) -> Tensor:
    """ONNX says top, left, bottom, right; PyTorch left, right, top, bottom."""
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def _conv(given: list[Tensor], about: Attributes) -> Tensor:
    x = _padded(given[0], about.get("pads", [0, 0, 0, 0]))
    bias = given[2] if len(given) > 2 else None
    return functional.conv2d(
        x, given[1], bias, about.get("strides", 1), 0, about.get("dilations", 1), about.get("group", 1)
    )


def _prelu(given: list[Tensor], about: Attributes) -> Tensor:
    x, slope = given
    return torch.where(x < 0, x * slope, x)


def _add(given: list[Tensor], about: Attributes) -> Tensor:
    return given[0] + given[1]


def _max_pool(given: list[Tensor], about: Attributes) -> Tensor:
    x = _padded(given[0], about.get("pads", [0, 0, 0, 0]), float("-inf"))
    return functional.max_pool2d(x, about["kernel_shape"], about.get("strides", [1, 1]))


def _pad(given: list[Tensor], about: Attributes) -> Tensor:
    if about.get("mode", b"constant") != b"constant":
        raise UnknownOperatorError(f"Pad in mode {about['mode']!r}")
    pads = given[1].tolist()
    ranks = len(pads) // 2
    # the last axis first
    sides = [int(pads[axis + side * ranks]) for axis in reversed(range(ranks)) for side in (0, 1)]
    return functional.pad(given[0], sides, value=float(given[2]) if len(given) > 2 else 0.0)


def _reshape(given: list[Tensor], about: Attributes) -> Tensor:
    x, shape = given[0], given[1].tolist()
    # the graphs were written for one picture at a time, and are given several
    return x.reshape(len(x), *shape[1:])


def _transpose(given: list[Tensor], about: Attributes) -> Tensor:
    return given[0].permute(about["perm"])


_OPERATORS: dict[str, Callable[[list[Tensor], Attributes], Tensor]] = {
    "Add": _add,
    "Conv": _conv,
    "MaxPool": _max_pool,
    "PRelu": _prelu,
    "Pad": _pad,
    "Reshape": _reshape,
    "Transpose": _transpose,
}
