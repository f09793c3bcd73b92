"""A FOMM model as three ONNX graphs: key-points, source encoder (once a portrait), generator (every frame).

Only plain operators are used. Arithmetic on coordinates is elementwise rather than by MatMul, so that no
runtime computes it in TF32.

``half`` writes the same networks for half precision: the convolution trunks in it, everything that handles
coordinates (low-pass of the pictures, softmax, motions, sampling) in float32, inputs and outputs float32.
"""

from __future__ import annotations

import numpy as np
import onnx

from .folding import (
    Array,
    Tensors,
    batch_norm_affine,
    conv_then_norm,
    phase_kernel,
    phase_mask,
    separate,
    upsampling_phases,
)
from .onnx_graph import GraphWriter

BATCH = "N"
SIZE = 256


class _Writer(GraphWriter):
    """Blocks of the networks, read from a state dict by prefix.

    ``plain`` writes everything in its straightforward form, to measure what the rewrites bring.
    """

    def __init__(self, name: str, tensors: Tensors, *, plain: bool, half: bool) -> None:
        super().__init__(name, half=half)
        self.tensors, self.plain = tensors, plain

    def conv_block(self, x: str, prefix: str, *, downsample: bool = False) -> str:
        weight, bias = conv_then_norm(self.tensors, f"{prefix}.conv", f"{prefix}.norm")
        y = self.op("Relu", self.conv(x, weight, bias, padding=weight.shape[2] // 2))
        return self.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]) if downsample else y

    def up_block(self, x: str, prefix: str) -> str:
        """Nearest x2, then a convolution block."""
        scales = self.constant([1.0, 1.0, 2.0, 2.0])
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.conv_block(self.op("Resize", x, "", scales, **how), prefix)

    def hourglass(self, x: str, prefix: str) -> str:
        skips = [x]
        while f"{prefix}.encoder.down_blocks.{len(skips) - 1}.conv.weight" in self.tensors:
            index = len(skips) - 1
            skips.append(self.conv_block(skips[-1], f"{prefix}.encoder.down_blocks.{index}", downsample=True))
        y = skips.pop()
        for index in range(len(skips)):
            y = self.op(
                "Concat", self.up_block(y, f"{prefix}.decoder.up_blocks.{index}"), skips.pop(), axis=1
            )
        return y

    def downsample(self, x: str, prefix: str) -> str:
        """Gaussian low-pass and every fourth pixel, one axis after the other."""
        weight = self.tensors[f"{prefix}.weight"]
        channels, _, size, _ = weight.shape
        if self.plain:
            return self.conv(x, weight, padding=(size // 2, size // 2), stride=(4, 4), group=channels)
        column, row = separate(weight[0, 0])
        vertical = np.broadcast_to(column[:, None], (channels, 1, size, 1))
        horizontal = np.broadcast_to(row[None, :], (channels, 1, 1, size))
        x = self.conv(x, vertical, padding=(size // 2, 0), stride=(4, 1), group=channels)
        return self.conv(x, horizontal, padding=(0, size // 2), stride=(1, 4), group=channels)

    def residual_block(self, x: str, prefix: str) -> str:
        """The norm between the convolutions folds into the first one; the norm before them has to stay."""
        scale, shift = batch_norm_affine(self.tensors, f"{prefix}.norm1")
        zeros, ones = np.zeros_like(scale), np.ones_like(scale)
        parameters = [self.constant(value, like=x) for value in (scale, shift, zeros, ones)]
        y = self.op("Relu", self.op("BatchNormalization", x, *parameters, epsilon=0.0))
        weight, bias = conv_then_norm(self.tensors, f"{prefix}.conv1", f"{prefix}.norm2")
        y = self.op("Relu", self.conv(y, weight, bias, padding=1))
        y = self.conv(
            y, self.tensors[f"{prefix}.conv2.weight"], self.tensors[f"{prefix}.conv2.bias"], padding=1
        )
        return self.op("Add", y, x)

    def picture(self, x: str, prefix: str, size: int) -> str:
        """The last up block and the final convolution; ``size`` is the height of ``x``."""
        final, final_bias = self.tensors["final.weight"], self.tensors["final.bias"]
        if self.plain:
            return self.conv(self.up_block(x, prefix), final, final_bias, padding=final.shape[2] // 2)
        weight, bias = conv_then_norm(self.tensors, f"{prefix}.conv", f"{prefix}.norm")
        width, cells = weight.shape[0], size + 1
        y = self.op("Relu", self.conv(x, upsampling_phases(weight), np.tile(bias, 4), padding=1))
        y = self.op(
            "Mul", self.reshape(y, [0, 4, width, cells, cells]), self.constant(phase_mask(cells), like=y)
        )
        y = self.reshape(y, [0, 4 * width, cells, cells])
        y = self.conv(y, phase_kernel(final), np.tile(final_bias, 4), padding=(final.shape[2] - 3) // 4)
        return self.op("DepthToSpace", y, blocksize=2, mode="DCR")


def _line(size: int) -> Array:
    return np.linspace(-1.0, 1.0, size)


def keypoint_graph(
    tensors: Tensors, *, temperature: float, plain: bool = False, half: bool = False
) -> onnx.ModelProto:
    """``image`` [N,3,256,256] -> ``value`` [N,K,2], ``jacobian`` [N,K,2,2]."""
    graph = _Writer("fomm keypoints", tensors, plain=plain, half=half)
    count = tensors["kp.weight"].shape[0]
    image = graph.input("image", [BATCH, 3, SIZE, SIZE])
    features = graph.hourglass(graph.narrow(graph.downsample(image, "down")), "predictor")
    # heatmaps (divided by the temperature) and jacobian maps by one convolution
    weight = np.concatenate((tensors["kp.weight"] / temperature, tensors["jacobian.weight"]))
    bias = np.concatenate((tensors["kp.bias"] / temperature, tensors["jacobian.bias"]))
    maps = graph.widen(graph.conv(features, weight, bias))
    side = SIZE // 4 - weight.shape[2] + 1
    heat, frames = graph.node("Split", maps, graph.constant([count, 4 * count]), outputs=2, axis=1)
    heat = graph.op("Softmax", graph.reshape(heat, [0, count, side * side]), axis=-1)
    square = graph.reshape(heat, [0, count, side, side])
    line = graph.constant(_line(side))
    x, y = (
        graph.sum(graph.op("Mul", graph.sum(square, [axis]), line), [2], keepdims=True) for axis in (2, 3)
    )  # expectation over the marginal of each axis
    value = graph.op("Concat", x, y, axis=2)
    frames = graph.reshape(frames, [0, count, 4, side * side])
    jacobian = graph.sum(graph.op("Mul", frames, graph.op("Unsqueeze", heat, graph.constant([2]))), [3])
    graph.output(value, "value", [BATCH, count, 2])
    graph.output(graph.reshape(jacobian, [0, count, 2, 2]), "jacobian", [BATCH, count, 2, 2])
    return graph.model()


def encoder_graph(tensors: Tensors, *, plain: bool = False, half: bool = False) -> onnx.ModelProto:
    """``source`` [N,3,256,256] -> ``features`` [N,C,64,64], ``small`` [N,3,64,64]."""
    graph = _Writer("fomm encoder", tensors, plain=plain, half=half)
    source = graph.input("source", [BATCH, 3, SIZE, SIZE])
    features = graph.conv_block(graph.narrow(source), "first")
    blocks = 0
    while f"down_blocks.{blocks}.conv.weight" in tensors:
        features = graph.conv_block(features, f"down_blocks.{blocks}", downsample=True)
        blocks += 1
    width = tensors[f"down_blocks.{blocks - 1}.conv.weight"].shape[0]
    graph.output(graph.widen(features), "features", [BATCH, width, SIZE >> blocks, SIZE >> blocks])
    small = graph.downsample(source, "dense_motion_network.down")
    graph.output(small, "small", [BATCH, 3, SIZE // 4, SIZE // 4])
    return graph.model()


def _entries(graph: GraphWriter, x: str, count: int, background: list[float]) -> list[str]:
    """[N,K,...] -> its numbers per candidate motion, each [N,K+1,1], the background's first."""
    entries = len(background)
    flat = graph.reshape(x, [0, count, entries])
    padded = graph.op("Pad", flat, graph.constant([0, 1, 0, 0, 0, 0]))
    if any(background):
        first = np.zeros((1, count + 1, entries))
        first[0, 0] = background
        padded = graph.op("Add", padded, graph.constant(first))
    return graph.node("Split", padded, graph.constant([1] * entries), outputs=entries, axis=2)


def _relative_frames(graph: GraphWriter, source: list[str], driving: list[str]) -> list[str]:
    """source x inverse(driving) of 2x2 matrices given by their entries."""

    def mul(a: str, b: str) -> str:
        return graph.op("Mul", a, b)

    a, b, c, d = driving
    determinant = graph.op("Sub", mul(a, d), mul(b, c))
    limit = graph.constant(1e-6)
    tiny = graph.op("Less", graph.op("Abs", determinant), limit)
    reciprocal = graph.op("Reciprocal", graph.op("Where", tiny, limit, determinant))
    s00, s01, s10, s11 = source
    return [
        mul(graph.op("Sub", mul(s00, d), mul(s01, c)), reciprocal),
        mul(graph.op("Sub", mul(s01, a), mul(s00, b)), reciprocal),
        mul(graph.op("Sub", mul(s10, d), mul(s11, c)), reciprocal),
        mul(graph.op("Sub", mul(s11, a), mul(s10, b)), reciprocal),
    ]


def _heat(graph: GraphWriter, position: list[str], size: int, variance: float) -> str:
    """Gaussian bumps [N,K,size,size] as the outer product of one line along each axis."""
    line = graph.constant(_line(size))
    lines = []
    for coordinate in position:
        distance = graph.op("Sub", line, coordinate)
        square = graph.op("Mul", distance, distance)
        lines.append(graph.op("Exp", graph.op("Mul", square, graph.constant(-0.5 / variance))))
    x, y = lines
    return graph.op(
        "Mul", graph.op("Unsqueeze", y, graph.constant([3])), graph.op("Unsqueeze", x, graph.constant([2]))
    )


def generator_graph(
    tensors: Tensors, *, variance: float, align_corners: bool, plain: bool = False, half: bool = False
) -> onnx.ModelProto:
    """An encoded source and two sets of key-points -> ``prediction`` [N,3,256,256]."""
    graph = _Writer("fomm generator", tensors, plain=plain, half=half)
    size, motion = SIZE // 4, "dense_motion_network"
    count = tensors[f"{motion}.mask.weight"].shape[0] - 1
    blocks = sum(key.startswith("up_blocks.") and key.endswith(".conv.weight") for key in tensors)
    width = tensors[f"down_blocks.{blocks - 1}.conv.weight"].shape[0]
    if SIZE >> blocks != size:
        raise ValueError(
            f"{blocks} down blocks: the feature map is not as large as the flow, which needs a resize"
        )
    features = graph.input("features", [BATCH, width, size, size])
    small = graph.input("small", [BATCH, 3, size, size])
    values, frames = {}, {}
    for who in ("source", "driving"):
        values[who] = _entries(graph, graph.input(f"{who}_value", [BATCH, count, 2]), count, [0.0, 0.0])
        jacobian = graph.input(f"{who}_jacobian", [BATCH, count, 2, 2])
        frames[who] = _entries(graph, jacobian, count, [1.0, 0.0, 0.0, 1.0])

    # candidate motions T_k(z) = A_k (z - driving_k) + source_k, planes of x and of y over the flattened grid
    a = _relative_frames(graph, frames["source"], frames["driving"])
    plane_x = graph.constant(np.tile(_line(size), size)[None, None])
    plane_y = graph.constant(np.repeat(_line(size), size)[None, None])
    off_x = graph.op("Sub", plane_x, values["driving"][0])
    off_y = graph.op("Sub", plane_y, values["driving"][1])
    candidates = []
    for row in (0, 1):
        moved = graph.op("Add", graph.op("Mul", a[2 * row], off_x), graph.op("Mul", a[2 * row + 1], off_y))
        candidates.append(graph.op("Add", moved, values["source"][row]))

    # all K+1 warps of the small picture by one GridSample over a grid K+1 times as tall
    planes = [graph.op("Unsqueeze", plane, graph.constant([3])) for plane in candidates]
    tall = graph.reshape(graph.op("Concat", *planes, axis=3), [0, (count + 1) * size, size, 2])
    warped = graph.op(
        "GridSample", small, tall, mode="bilinear", padding_mode="zeros", align_corners=int(align_corners)
    )
    warped = graph.op("Transpose", graph.reshape(warped, [0, 3, count + 1, size, size]), perm=[0, 2, 1, 3, 4])
    heat = graph.op(
        "Sub", _heat(graph, values["driving"], size, variance), _heat(graph, values["source"], size, variance)
    )
    heat = graph.op(
        "Unsqueeze", heat, graph.constant([2])
    )  # the background's is zero: both its bumps are the same
    inputs = graph.reshape(graph.op("Concat", heat, warped, axis=2), [0, 4 * (count + 1), size, size])

    # masks and occlusion by one convolution
    hourglass = graph.hourglass(graph.narrow(inputs), f"{motion}.hourglass")
    weight = np.concatenate((tensors[f"{motion}.mask.weight"], tensors[f"{motion}.occlusion.weight"]))
    bias = np.concatenate((tensors[f"{motion}.mask.bias"], tensors[f"{motion}.occlusion.bias"]))
    maps = graph.widen(graph.conv(hourglass, weight, bias, padding=3))
    mask, occlusion = graph.node("Split", maps, graph.constant([count + 1, 1]), outputs=2, axis=1)
    mask = graph.op("Softmax", graph.reshape(mask, [0, count + 1, size * size]), axis=1)
    flow = [
        graph.reshape(graph.sum(graph.op("Mul", mask, plane), [1]), [0, size, size, 1])
        for plane in candidates
    ]
    flow_grid = graph.op("Concat", *flow, axis=3)

    deformed = graph.op(
        "GridSample",
        features,
        flow_grid,
        mode="bilinear",
        padding_mode="zeros",
        align_corners=int(align_corners),
    )
    z = graph.narrow(graph.op("Mul", deformed, graph.op("Sigmoid", occlusion)))
    index = 0
    while (prefix := f"bottleneck.r{index}") + ".conv1.weight" in tensors:
        z = graph.residual_block(z, prefix)
        index += 1
    for index in range(blocks - 1):
        z = graph.up_block(z, f"up_blocks.{index}")
    z = graph.widen(graph.picture(z, f"up_blocks.{blocks - 1}", SIZE // 2))
    graph.output(graph.op("Sigmoid", z), "prediction", [BATCH, 3, SIZE, SIZE])
    return graph.model()
