"""An X2Face model as two ONNX graphs: embedder (once a person), driver (every frame).

Only plain operators are used, and every batch norm is folded into the convolution before it, which is exact
because nothing lies between the two.

``half`` writes the same networks for half precision: the convolution trunks in it, everything that handles
coordinates and pictures (flow, confidence, grid, sampling) in float32, inputs and outputs float32.
"""

from __future__ import annotations

import numpy as np
import onnx

from .folding import Array, Tensors, batch_norm_affine
from .onnx_graph import GraphWriter
from .x2face import LEAK, LEAST_CONFIDENCE, LEVELS, SIZE

BATCH = "N"


def _folded(tensors: Tensors, conv: str, norm: str) -> tuple[Array, Array | None]:
    """Weight and bias of a convolution without bias and of the batch norm behind it, if there is one."""
    weight = tensors[f"{conv}.weight"]
    if f"{norm}.weight" not in tensors:
        return weight, None
    scale, shift = batch_norm_affine(tensors, norm)
    return weight * scale[:, None, None, None], shift


class _Writer(GraphWriter):
    """Writes a U-Net and what follows it."""

    def __init__(
        self, name: str, tensors: Tensors, *, align_corners: bool, resize_align_corners: bool, half: bool
    ) -> None:
        super().__init__(name, half=half)
        self.tensors = tensors
        self.align_corners, self.resize_align_corners = align_corners, resize_align_corners

    def double(self, x: str) -> str:
        """Bilinear x2."""
        mode = "align_corners" if self.resize_align_corners else "half_pixel"
        scales = self.constant([1.0, 1.0, 2.0, 2.0])
        return self.op("Resize", x, "", scales, mode="linear", coordinate_transformation_mode=mode)

    def unet(self, picture: str, *, skips: bool) -> str:
        """The network's last map, in float32."""
        prefixes = ["model" + ".submodule" * index for index in range(LEVELS)]
        x, maps = self.narrow(picture), []
        for index, prefix in enumerate(prefixes):
            weight, bias = _folded(self.tensors, f"{prefix}.down.{min(index, 1)}", f"{prefix}.down.2")
            y = self.op("LeakyRelu", x, alpha=LEAK) if index else x
            x = self.conv(y, weight, bias, padding=1, stride=2)
            maps.append(x)
        y = maps.pop()
        for prefix in reversed(prefixes):
            weight, bias = _folded(self.tensors, f"{prefix}.up.2", f"{prefix}.up.3")
            y = self.conv(self.double(self.op("Relu", y)), weight, bias, padding=1)
            if maps:
                skip = maps.pop()
                y = self.op("Concat", y, skip, axis=1) if skips else y
        return self.widen(y)

    def sample(self, picture: str, flow: str) -> str:
        """``picture`` where ``flow``, not yet squashed, points from every place."""
        # The places themselves, as columns and rows: engines add these up once, and files stay small.
        line, none = np.linspace(-1.0, 1.0, SIZE), np.zeros(SIZE)
        columns, rows = np.stack((line, none), -1)[None, None], np.stack((none, line), -1)[None, :, None]
        place = self.op("Add", self.constant(columns), self.constant(rows))
        moved = self.op("Transpose", self.op("Tanh", flow), perm=[0, 2, 3, 1])
        grid = self.op("Add", moved, place)
        how = {"mode": "bilinear", "padding_mode": "zeros", "align_corners": int(self.align_corners)}
        return self.op("GridSample", picture, grid, **how)


def embedder_graph(
    tensors: Tensors, *, align_corners: bool, resize_align_corners: bool, half: bool = False
) -> onnx.ModelProto:
    """``source`` [N,3,256,256], all of one person -> ``embedded`` [1,3,256,256]."""
    graph = _Writer(
        "x2face embedder",
        tensors,
        align_corners=align_corners,
        resize_align_corners=resize_align_corners,
        half=half,
    )
    source = graph.input("source", [BATCH, 3, SIZE, SIZE])
    maps = graph.unet(source, skips=True)
    flow, confidence = graph.node("Split", maps, graph.constant([2, 1]), outputs=2, axis=1)
    weight = graph.op("Add", graph.op("Exp", confidence), graph.constant(LEAST_CONFIDENCE))
    unwrapped = graph.op("Mul", graph.sample(source, flow), weight)
    total, weights = (graph.sum(part, [0], keepdims=True) for part in (unwrapped, weight))
    graph.output(graph.op("Div", total, weights), "embedded", [1, 3, SIZE, SIZE])
    return graph.model()


def driver_graph(
    tensors: Tensors, *, align_corners: bool, resize_align_corners: bool, half: bool = False
) -> onnx.ModelProto:
    """``embedded`` and ``driving``, both [N,3,256,256] -> ``prediction`` [N,3,256,256]."""
    graph = _Writer(
        "x2face driver",
        tensors,
        align_corners=align_corners,
        resize_align_corners=resize_align_corners,
        half=half,
    )
    embedded = graph.input("embedded", [BATCH, 3, SIZE, SIZE])
    driving = graph.input("driving", [BATCH, 3, SIZE, SIZE])
    flow = graph.op("Tanh", graph.unet(driving, skips=False))
    picture = graph.op("Clip", graph.sample(embedded, flow), graph.constant(0.0), graph.constant(1.0))
    graph.output(picture, "prediction", [BATCH, 3, SIZE, SIZE])
    return graph.model()
