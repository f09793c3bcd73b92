"""The classifiers of ``resnet.py`` as ONNX graphs, every batch norm folded into the convolution before it."""

from __future__ import annotations

import onnx

from .folding import Tensors, batch_norm_affine
from .onnx_graph import GraphWriter
from .resnet import CLASSES, SIZE, ResNetConfig, pool_sizes

BATCH = "N"
LAST_SIDE = SIZE // 32
OUTPUT = "logits"


def classifier_graph(tensors: Tensors, config: ResNetConfig) -> onnx.ModelProto:
    """``input`` [N,3,224,224] -> ``logits`` [N,2]."""
    graph = GraphWriter("dsp-fwa" if config.pyramid else "fwa")

    def conv(x: str, name: str, norm: str, *, padding: int = 0, stride: int = 1) -> str:
        scale, shift = batch_norm_affine(tensors, norm)
        weight = tensors[f"{name}.weight"] * scale[:, None, None, None]
        return graph.conv(x, weight, shift, padding=padding, stride=stride)

    x = graph.input("input", [BATCH, 3, SIZE, SIZE])
    x = graph.op("Relu", conv(x, "conv1", "bn1", padding=3, stride=2))
    pads = [0, 0, 1, 1] if config.slim else [1, 1, 1, 1]
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=pads)
    for stage, units in enumerate(config.units):
        for unit in range(units):
            prefix, stride = f"layer{stage + 1}.{unit}", config.stride(stage, unit)
            y = graph.op("Relu", conv(x, f"{prefix}.conv1", f"{prefix}.bn1"))
            y = graph.op("Relu", conv(y, f"{prefix}.conv2", f"{prefix}.bn2", padding=1, stride=stride))
            y = conv(y, f"{prefix}.conv3", f"{prefix}.bn3")
            if f"{prefix}.downsample.0.weight" in tensors:
                x = conv(x, f"{prefix}.downsample.0", f"{prefix}.downsample.1", stride=stride)
            elif stride > 1:
                x = graph.op("MaxPool", x, kernel_shape=[1, 1], strides=[stride, stride])
            x = graph.op("Relu", graph.op("Add", y, x))
    if config.pyramid:
        levels = []
        for cells in config.pyramid:
            kernel, step = pool_sizes(LAST_SIDE, cells)
            level = graph.op("MaxPool", x, kernel_shape=[kernel, kernel], strides=[step, step])
            levels.append(graph.op("Flatten", level))
        x = graph.op("Concat", *levels, axis=1)
    else:
        x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    weight, bias = (graph.constant(tensors[f"{config.head}.{part}"]) for part in ("weight", "bias"))
    graph.output(graph.op("Gemm", x, weight, bias, transB=1), OUTPUT, [BATCH, CLASSES])
    return graph.model()
