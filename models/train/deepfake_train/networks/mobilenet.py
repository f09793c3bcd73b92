"""MobileNetV2 (Sandler et al., 2018) with a head that reads three depths: warping leaves local traces, which
the last map of 7 x 7 cells alone would have averaged away.

The trunk has torchvision's names (``features.2.conv.0.0.weight``). It comes in two forms: with batch norms,
to start from weights for other tasks; and without, each folded into its convolution, to go on from a graph of
the zoo. Both are written as the same graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from ..folding import BATCH_NORM_EPSILON
from ..onnx_graph import GraphWriter

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LARGEST = 6.0
"""Where ReLU6 ends."""


@dataclass(frozen=True)
class Shape:
    """Widths: ``stages`` is (expansion, channels, blocks, stride of the first) each.

    ``taps`` are the stages whose mean and maximum the head reads besides the mean of the last map.
    """

    side: int
    stem: int
    stages: tuple[tuple[int, int, int, int], ...]
    top: int
    taps: tuple[int, ...]

    @property
    def features(self) -> int:
        """Numbers that the last layer reads."""
        return sum(2 * self.stages[tap][1] for tap in self.taps) + self.top


PRESETS = {
    "full": Shape(
        224,
        32,
        (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ),
        1280,
        (2, 4),
    ),
    "tiny": Shape(48, 8, ((1, 8, 1, 1), (2, 12, 2, 2), (2, 16, 1, 2)), 32, (0, 1)),
}


def _convolution(
    inputs: int, outputs: int, size: int, stride: int, groups: int, norm: bool
) -> tuple[nn.Conv2d, nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=not norm)
    return convolution, nn.BatchNorm2d(outputs) if norm else nn.Identity()


def _activated(inputs: int, outputs: int, size: int, stride: int, groups: int, norm: bool) -> nn.Sequential:
    return nn.Sequential(*_convolution(inputs, outputs, size, stride, groups, norm), nn.ReLU6())


class Block(nn.Module):
    """Widen, filter each channel by itself, narrow; added to what came in if it has the same shape."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int, norm: bool) -> None:
        super().__init__()
        wide = inputs * expansion
        layers: list[nn.Module] = [_activated(inputs, wide, 1, 1, 1, norm)] if expansion > 1 else []
        layers.append(_activated(wide, wide, 3, stride, wide, norm))
        layers += _convolution(wide, outputs, 1, 1, 1, norm)
        self.conv = nn.Sequential(*layers)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNet(nn.Module):
    """[N, 3, side, side], RGB by `normalise` -> [N, 1], a logit that is above 0 for a fake."""

    def __init__(self, shape: Shape, *, norm: bool) -> None:
        super().__init__()
        self.shape, self.norm, self._frozen = shape, norm, 0
        layers: list[nn.Module] = [_activated(3, shape.stem, 3, 2, 1, norm)]
        width = shape.stem
        self._taps: list[int] = []
        for index, (expansion, channels, count, stride) in enumerate(shape.stages):
            for number in range(count):
                layers.append(Block(width, channels, stride if number == 0 else 1, expansion, norm))
                width = channels
            if index in shape.taps:
                self._taps.append(len(layers) - 1)
        layers.append(_activated(width, shape.top, 1, 1, 1, norm))
        self.features = nn.Sequential(*layers)
        # the head reads numbers of very different sizes: evened out, unless that too was folded
        self.even = nn.BatchNorm1d(shape.features) if norm else nn.Identity()
        self.classifier = nn.Linear(shape.features, 1)

    def forward(self, x: Tensor) -> Tensor:
        read = []
        for index, layer in enumerate(self.features):
            x = layer(x)
            if index in self._taps:
                read += [x.mean((2, 3)), x.amax((2, 3))]
        read.append(x.mean((2, 3)))
        return self.classifier(self.even(torch.cat(read, 1).float()))

    def freeze(self, layers: int) -> None:
        """Keeps the first layers of the trunk as they are, the statistics of their batch norms too."""
        self._frozen = layers
        for layer in self.features[:layers]:
            for parameter in layer.parameters():
                parameter.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for layer in self.features[: self._frozen]:
            layer.eval()
        return self


def normalise(pictures: Tensor) -> Tensor:
    """[N, S, S, 3] BGR bytes -> what the network takes, on the device of the pictures."""
    planes = pictures.permute(0, 3, 1, 2).flip(1).float() / 255
    mean, deviation = (
        torch.tensor(values, device=pictures.device).view(1, 3, 1, 1) for values in (MEAN, DEVIATION)
    )
    return ((planes - mean) / deviation).contiguous(memory_format=torch.channels_last)


def load_trunk(network: MobileNet, path: Path) -> None:
    """Weights of a MobileNetV2 for other tasks, an ``.npz`` whose arrays come in torchvision's order.

    Raises ``ValueError`` if they do not fit. The head stays as it is.
    """
    keys = [key for key in network.features.state_dict() if not key.endswith("num_batches_tracked")]
    with np.load(path) as content:
        arrays = [content[name] for name in content.files]
    shapes = [tuple(network.features.state_dict()[key].shape) for key in keys]
    if [array.shape for array in arrays] != shapes:
        raise ValueError(f"{path}: not the weights of a trunk of this shape with batch norms")
    state = {key: torch.from_numpy(array.astype(np.float32)) for key, array in zip(keys, arrays, strict=True)}
    network.features.load_state_dict(state, strict=False)


def load_graph(network: MobileNet, path: Path) -> None:
    """Weights of a graph of the zoo, for a network without batch norms; ``ValueError`` if they do not fit."""
    if network.norm:
        raise ValueError("a graph has no batch norms: they are folded into its convolutions")
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    layers = [
        [constants[name] for name in node.input[1:]]
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    ]
    own = [
        (module.get_parameter("weight"), module.get_parameter("bias"))
        for module in (*_convolutions(network), network.classifier)
    ]
    given = [[array.shape for array in layer] for layer in layers]
    wanted = [[tuple(weight.shape), tuple(bias.shape)] for weight, bias in own]
    if given != wanted:
        raise ValueError(f"{path}: not a graph of this shape")
    with torch.no_grad():
        for parameters, layer in zip(own, layers, strict=True):
            for parameter, array in zip(parameters, layer, strict=True):
                parameter.copy_(torch.from_numpy(array.astype(np.float32)))


def _convolutions(network: MobileNet) -> Iterator[nn.Conv2d]:
    return (module for module in network.features.modules() if isinstance(module, nn.Conv2d))


def mobilenet_graph(network: MobileNet, *, scale: float = 1.0, offset: float = 0.0) -> onnx.ModelProto:
    """The network as a graph, ``input`` -> ``logit``, with batch norms folded in.

    ``scale`` and ``offset``, of a calibration, are applied to the logit by way of the last layer.
    """
    shape = network.shape
    tensors = {key: value.detach().cpu().double().numpy() for key, value in network.state_dict().items()}
    writer = GraphWriter("fwa-lite")
    low, high = writer.constant(0.0), writer.constant(LARGEST)
    read: list[str] = []

    def convolve(x: str, name: str, module: nn.Sequential, at: int) -> str:
        convolution = module[at]
        assert isinstance(convolution, nn.Conv2d) and not isinstance(convolution.padding, str)
        weight, bias = _folded(tensors, f"{name}.{at}", f"{name}.{at + 1}", network.norm)
        return writer.conv(
            x,
            weight,
            bias,
            padding=convolution.padding[0],
            stride=convolution.stride[0],
            group=convolution.groups,
        )

    def activate(x: str, name: str, module: nn.Sequential) -> str:
        return writer.op("Clip", convolve(x, name, module, 0), low, high)

    x = writer.input("input", ["N", 3, shape.side, shape.side])
    for index, layer in enumerate(network.features):
        name = f"features.{index}"
        if isinstance(layer, Block):
            y = x
            for number, part in enumerate(layer.conv):
                if isinstance(part, nn.Sequential):
                    y = activate(y, f"{name}.conv.{number}", part)
                elif isinstance(part, nn.Conv2d):
                    y = convolve(y, f"{name}.conv", layer.conv, number)
            x = writer.op("Add", x, y) if layer.adds else y
        else:
            assert isinstance(layer, nn.Sequential)
            x = activate(x, name, layer)
        if index in network._taps:
            read += [writer.op(f"Reduce{kind}", x, axes=[2, 3], keepdims=0) for kind in ("Mean", "Max")]
    read.append(writer.op("ReduceMean", x, axes=[2, 3], keepdims=0))
    weight, bias = tensors["classifier.weight"], tensors["classifier.bias"]
    if network.norm:
        gain, shift = _affine(tensors, "even")
        weight, bias = weight * gain, bias + weight @ shift
    gathered = writer.op("Concat", *read, axis=1)
    logit = writer.op(
        "Gemm", gathered, writer.constant(weight * scale), writer.constant(bias * scale + offset), transB=1
    )
    writer.output(logit, "logit", ["N", 1])
    return writer.model()


def _folded(
    tensors: Mapping[str, NDArray[np.float64]], convolution: str, norm: str, folds: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    weight = tensors[f"{convolution}.weight"]
    if not folds:
        return weight, tensors[f"{convolution}.bias"]
    gain, shift = _affine(tensors, norm)
    return weight * gain[:, None, None, None], shift


def _affine(
    tensors: Mapping[str, NDArray[np.float64]], norm: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    gain = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + BATCH_NORM_EPSILON)
    return gain, tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * gain
