"""Checkpoints of the motion model, the published ones and our own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .fomm import PRESETS, Fomm, FommConfig, GeneratorConfig, HourglassConfig
from .state_check import StateMismatchError, fit_state
from .stored_tensors import read_tensors

State = dict[str, Tensor]
PARTS = ("kp_detector", "generator")


def read_checkpoint(path: Path) -> dict[str, State]:
    """The state dicts of ``PARTS``; what else lies there (discriminator, optimisers, epoch) is left alone."""
    content = read_tensors(path, wanted=PARTS)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: no tensors by name in this checkpoint, but a {type(content).__name__}")
    for name in PARTS:
        if not isinstance(content.get(name), Mapping):
            found = ", ".join(sorted(map(str, content))) or "nothing"
            raise ValueError(f"{path}: no '{name}' in this checkpoint, only: {found}")
    return {name: content[name] for name in PARTS}


def _width(state: Mapping[str, object], key: str, default: int) -> int:
    """How many channels a convolution gives; ``default`` if that cannot be told."""
    tensor = state.get(key)
    return tensor.shape[0] if isinstance(tensor, Tensor) and tensor.dim() == 4 else default


def _hourglass_config(
    state: Mapping[str, object], prefix: str, published: HourglassConfig
) -> HourglassConfig:
    widths: list[int] = []
    while width := _width(state, f"{prefix}.encoder.down_blocks.{len(widths)}.conv.weight", 0):
        widths.append(width)
    if not widths:
        return published
    last = f"{prefix}.decoder.up_blocks.{len(widths) - 1}.conv.weight"
    return HourglassConfig(_width(state, last, published.base), max(widths), len(widths))


def infer_config(parts: Mapping[str, Mapping[str, object]], *, align_corners: bool) -> FommConfig:
    """The configuration these tensors seem to have, the published one where they do not tell.

    ``align_corners`` leaves no trace in them.
    """
    detector, generator = (parts[name] for name in PARTS)
    down = sum(key.startswith("down_blocks.") and key.endswith(".conv.weight") for key in generator)
    residual = sum(key.startswith("bottleneck.") and key.endswith(".conv1.weight") for key in generator)
    published = PRESETS["vox"]
    shape = published.generator
    return FommConfig(
        keypoint_hourglass=_hourglass_config(detector, "predictor", published.keypoint_hourglass),
        motion_hourglass=_hourglass_config(
            generator, "dense_motion_network.hourglass", published.motion_hourglass
        ),
        generator=GeneratorConfig(
            base=_width(generator, "first.conv.weight", shape.base),
            maximum=_width(generator, f"down_blocks.{down - 1}.conv.weight", shape.maximum),
            down_blocks=down or shape.down_blocks,
            residual_blocks=residual or shape.residual_blocks,
        ),
        keypoints=_width(detector, "kp.weight", published.keypoints),
        align_corners=align_corners,
    )


def load_fomm(path: Path, *, align_corners: bool) -> Fomm:
    """The model of a checkpoint, ready for inference; every tensor must fit.

    Raises ``StateMismatchError`` with all that does not, of both parts.
    """
    parts = read_checkpoint(path)
    model = Fomm(infer_config(parts, align_corners=align_corners))
    refusals = []
    for name, network in zip(PARTS, (model.keypoint_detector, model.generator), strict=True):
        try:
            fit_state(network, parts[name], f"{path}: '{name}'")
        except StateMismatchError as refusal:
            refusals.append(str(refusal))
    if refusals:
        raise StateMismatchError("\n".join(refusals))
    model.keypoint_detector.down.restore()
    model.generator.dense_motion_network.down.restore()
    return model
