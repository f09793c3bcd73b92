"""LPIPS, the perceptual distance of Zhang et al., 2018, on VGG-16, as version 0.1 of their package has it.

The network runs in ONNX Runtime, so that no PyTorch is needed. Its weights are not ours to ship; the README
of the training package says where they come from. Pictures are [H, W, 3] BGR bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from ..faces import Picture
from ..measure import session
from ..onnx_graph import GraphWriter

Floats = NDArray[np.float32]

BLOCKS = (2, 2, 3, 3, 3)  # convolutions of VGG-16 between its poolings
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)  # of RGB in -1..1
TINY = 1e-10


def vgg_graph(weights: Mapping[str, NDArray[np.floating]]) -> onnx.ModelProto:
    """``image`` [N, 3, H, W], RGB in -1..1 -> ``block1``..``block5``, the last before each pooling.

    ``weights`` are ``w0``, ``b0`` .. ``w12``, ``b12``: kernels [out, in, 3, 3] and biases.
    """
    graph = GraphWriter("vgg-16")
    x = graph.input("image", ["N", 3, "H", "W"])
    shift, scale = (graph.constant(np.reshape(value, (1, 3, 1, 1))) for value in (SHIFT, SCALE))
    x, index, ends = graph.op("Div", graph.op("Sub", x, shift), scale), 0, []
    width = 3
    for block, count in enumerate(BLOCKS):
        if block:
            x = graph.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        for _ in range(count):
            kernel, bias = (np.asarray(weights[f"{what}{index}"], np.float32) for what in ("w", "b"))
            x = graph.op("Relu", graph.conv(x, kernel, bias, padding=1))
            index, width = index + 1, kernel.shape[0]
        ends.append((x, width))
    for block, (end, width) in enumerate(ends, 1):
        graph.output(end, f"block{block}", ["N", width, f"H{block}", f"W{block}"])
    return graph.model()


def read_linear_weights(path: Path) -> list[Floats]:
    """How much each channel of each block counts: the package's ``vgg.pth``, or ``.npz`` (lin0..lin4)."""
    if path.suffix == ".npz":
        with np.load(path) as content:
            return [content[f"lin{block}"].astype(np.float32).reshape(-1) for block in range(len(BLOCKS))]
    from ..stored_tensors import read_tensors  # only this file format needs PyTorch

    state = read_tensors(path)
    names = [f"lin{block}.model.1.weight" for block in range(len(BLOCKS))]
    return [state[name].numpy().astype(np.float32).reshape(-1) for name in names]


class VggFeatures:
    """VGG-16 of an ``.npz`` file; at every place the features have unit length over the channels."""

    def __init__(self, weights: Path, threads: int = 2) -> None:
        with np.load(weights) as content:
            self._network = session(vgg_graph(content).SerializeToString(), threads)

    def __call__(self, picture: Picture) -> list[Floats]:
        """Five arrays [C, h, w]."""
        image = picture[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(127.5) - 1
        return [unit_length(block[0]) for block in self._network.run(None, {"image": image})]


def unit_length(features: Floats) -> Floats:
    """[C, h, w] divided by the length over C."""
    length = np.sqrt(np.square(features).sum(0, keepdims=True))
    return np.asarray(features / (length + TINY), np.float32)


class Lpips:
    """The distance. It takes features, so that those of a picture that is compared twice are made once."""

    def __init__(self, linear: Sequence[Floats]) -> None:
        self._linear = linear

    def __call__(self, prediction: Sequence[Floats], truth: Sequence[Floats]) -> float:
        """0 for equal pictures; about 0.7 for unlike ones."""
        return sum(
            float(np.einsum("c,chw->", weight, np.square(a - b), dtype=np.float64) / a[0].size)
            for weight, a, b in zip(self._linear, prediction, truth, strict=True)
        )
