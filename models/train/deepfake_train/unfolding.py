"""From the ONNX graphs of a motion model back to weights that can be trained: ``fomm_onnx`` undone.

The zoo ships graphs and no checkpoints, and whoever fine-tunes wants to begin with what ships. Batch norms
were folded into the convolutions, so their statistics are lost: the norms of the result do nothing, and have
to stay so (``train fomm --frozen-norms``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from . import manifest
from .checkpoint import PARTS, State, infer_config
from .folding import BATCH_NORM_EPSILON, Array, from_phase_kernel, from_upsampling_phases
from .fomm import PRESETS, AntiAliasDownsample, Fomm
from .state_check import fit_state, without_numbers

PUBLISHED = PRESETS["vox"]
"""What leaves no trace in the graphs is as everywhere."""
CHANNELS = PUBLISHED.channels
LOW_PASS = 2
"""Convolutions of one low-pass, an axis each."""


class _Layers:
    """The constants of all nodes of a graph that have this operator, in the order of the graph."""

    def __init__(self, path: Path, operator: str) -> None:
        graph = onnx.load(path).graph
        values = {tensor.name: tensor for tensor in graph.initializer}
        self._left: Iterator[list[Array]] = iter(
            found := [
                [numpy_helper.to_array(values[name]) for name in node.input[1:] if name in values]
                for node in graph.node
                if node.op_type == operator
            ]
        )
        self.count = len(found)

    def take(self) -> list[Array]:
        """The next one's."""
        return next(self._left)


class _State:
    """A state dict that is filled name by name."""

    def __init__(self) -> None:
        self.tensors: State = {}

    def convolution(self, name: str, weight: Array, bias: Array) -> None:
        self.tensors[f"{name}.weight"] = _tensor(weight)
        self.tensors[f"{name}.bias"] = _tensor(bias)

    def norm(self, name: str, scale: Array, shift: Array) -> None:
        """A batch norm of this effect, which takes no statistics into account."""
        # what is added to the variance, which is one, is made up for
        self.convolution(name, scale * np.sqrt(1 + BATCH_NORM_EPSILON), shift)
        self.tensors[f"{name}.running_mean"] = torch.zeros(len(scale))
        self.tensors[f"{name}.running_var"] = torch.ones(len(scale))

    def folded(self, prefix: str, weight: Array, bias: Array, *, index: str = "") -> None:
        """A convolution, and after it a norm without effect."""
        self.convolution(f"{prefix}.conv{index}", weight, bias)
        self.norm(f"{prefix}.norm{int(index) + 1 if index else ''}", np.ones(len(bias)), np.zeros(len(bias)))

    def hourglass(self, prefix: str, layers: _Layers, levels: int) -> None:
        for part in ("encoder.down_blocks", "decoder.up_blocks"):
            for level in range(levels):
                self.folded(f"{prefix}.{part}.{level}", *layers.take())

    def split(self, layers: _Layers, *heads: tuple[str, int, float]) -> None:
        """One convolution that was made of several: by name, how many channels each had, and what it is
        multiplied with."""
        weight, bias = layers.take()
        first = 0
        for name, channels, factor in heads:
            part = slice(first, first + channels)
            self.convolution(name, weight[part] * factor, bias[part] * factor)
            first += channels

    def low_pass(self, prefix: str) -> None:
        """The kernel that is not learned."""
        down = AntiAliasDownsample(CHANNELS, PUBLISHED.scale)
        self.tensors[f"{prefix}.weight"] = down.get_buffer("weight")


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32))  # a copy: those of a file are not to be written


def _detector(path: Path, keypoints: int) -> State:
    layers, state = _Layers(path, "Conv"), _State()
    for _ in range(LOW_PASS):
        layers.take()
    state.hourglass("predictor", layers, (layers.count - LOW_PASS - 1) // 2)
    state.split(layers, ("kp", keypoints, PUBLISHED.temperature), ("jacobian", 4 * keypoints, 1.0))
    state.low_pass("down")
    return state.tensors


def _generator(encoder: Path, generator: Path, keypoints: int) -> State:
    layers, state = _Layers(encoder, "Conv"), _State()
    down_blocks = layers.count - LOW_PASS - 1
    state.folded("first", *layers.take())
    for block in range(down_blocks):
        state.folded(f"down_blocks.{block}", *layers.take())

    motion = "dense_motion_network"
    state.low_pass(f"{motion}.down")
    layers, norms = _Layers(generator, "Conv"), _Layers(generator, "BatchNormalization")
    painting = 2 * norms.count + down_blocks + 1
    state.hourglass(f"{motion}.hourglass", layers, (layers.count - painting - 1) // 2)
    state.split(layers, (f"{motion}.mask", keypoints + 1, 1.0), (f"{motion}.occlusion", 1, 1.0))
    for index in range(norms.count):
        prefix = f"bottleneck.r{index}"
        state.norm(f"{prefix}.norm1", *norms.take()[:2])
        state.folded(prefix, *layers.take(), index="1")
        state.convolution(f"{prefix}.conv2", *layers.take())
    for block in range(down_blocks - 1):
        state.folded(f"up_blocks.{block}", *layers.take())
    phases, bias = layers.take()
    state.folded(f"up_blocks.{down_blocks - 1}", from_upsampling_phases(phases), bias[: len(bias) // 4])
    final, bias = layers.take()
    state.convolution("final", from_phase_kernel(final), bias[: len(bias) // 4])
    return state.tensors


def unfolded_fomm(folder: Path) -> Fomm:
    """The motion model of a zoo folder, with norms that do nothing.

    Raises ``manifest.WrongKindError`` for another kind of model, ``ValueError`` for graphs that
    ``convert fomm`` did not write.
    """
    about = manifest.read_kind(folder, "fomm")
    files = {file["role"]: folder / file["path"] for file in about["file"]}
    keypoints = about["fomm"]["keypoints"]
    try:
        states = (
            _detector(files["keypoints"], keypoints),
            _generator(files["encoder"], files["generator"], keypoints),
        )
        parts = dict(zip(PARTS, states, strict=True))
        config = infer_config(parts, align_corners=about["fomm"]["align_corners"])
        model = without_numbers(lambda: Fomm(config))
        for name, network in zip(PARTS, (model.keypoint_detector, model.generator), strict=True):
            fit_state(network, parts[name], f"'{name}'")
    except (StopIteration, ValueError) as error:
        raise ValueError(f"{folder}: not the graphs that `convert fomm` writes ({error})") from None
    return model


def norms_do_nothing(model: Fomm) -> bool:
    """Whether the statistics of all batch norms are those of ``unfolded_fomm``, thus none."""
    norms = (
        module
        for network in (model.keypoint_detector, model.generator)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d)
    )
    statistics = ((norm.running_mean, norm.running_var) for norm in norms)
    return all(
        mean is not None and variance is not None and not mean.any() and bool((variance == 1).all())
        for mean, variance in statistics
    )
