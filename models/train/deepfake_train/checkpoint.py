"""Checkpoints of the motion model, the published ones and our own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from .fomm import PRESETS, Fomm, FommConfig, GeneratorConfig, HourglassConfig
from .state_check import MOST_BLOCKS, StateMismatchError, fit_state, width, without_numbers
from .stored_tensors import read_tensors, shown_names

State = dict[str, Tensor]
PARTS = ("kp_detector", "generator")


def read_checkpoint(path: Path) -> dict[str, State]:
    """The state dicts of ``PARTS``; what else lies there (discriminator, optimisers, epoch) is left alone."""
    content = read_tensors(path, wanted=PARTS)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: no tensors by name in this checkpoint, but a {type(content).__name__}")
    for name in PARTS:
        if not isinstance(content.get(name), Mapping):
            found = shown_names(sorted(content, key=str)) or "nothing"
            raise ValueError(f"{path}: no '{name}' in this checkpoint, only: {found}")
    return {name: content[name] for name in PARTS}


def _blocks(state: Mapping[str, object], prefix: str, suffix: str) -> int:
    """How many names there are of this kind."""
    found = sum(str(key).startswith(prefix) and str(key).endswith(suffix) for key in state)
    if found > MOST_BLOCKS:
        raise StateMismatchError(f"{found} blocks '{prefix}' are more than the {MOST_BLOCKS} that can be")
    return found


def _hourglass_config(
    state: Mapping[str, object], prefix: str, published: HourglassConfig
) -> HourglassConfig:
    down = f"{prefix}.encoder.down_blocks."
    most = _blocks(state, down, ".conv.weight")
    every = (width(state, f"{down}{level}.conv.weight", 0) for level in range(most))
    widths = list(itertools.takewhile(bool, every))
    if not widths:
        return published
    last = f"{prefix}.decoder.up_blocks.{len(widths) - 1}.conv.weight"
    return HourglassConfig(width(state, last, published.base), max(widths), len(widths))


def infer_config(parts: Mapping[str, Mapping[str, object]], *, align_corners: bool) -> FommConfig:
    """The configuration these tensors seem to have, the published one where they do not tell.

    ``align_corners`` leaves no trace in them. Raises ``StateMismatchError`` where no network can be so large.
    """
    detector, generator = (parts[name] for name in PARTS)
    down = _blocks(generator, "down_blocks.", ".conv.weight")
    residual = _blocks(generator, "bottleneck.", ".conv1.weight")
    published = PRESETS["vox"]
    shape = published.generator
    return FommConfig(
        keypoint_hourglass=_hourglass_config(detector, "predictor", published.keypoint_hourglass),
        motion_hourglass=_hourglass_config(
            generator, "dense_motion_network.hourglass", published.motion_hourglass
        ),
        generator=GeneratorConfig(
            base=width(generator, "first.conv.weight", shape.base),
            maximum=width(generator, f"down_blocks.{down - 1}.conv.weight", shape.maximum),
            down_blocks=down or shape.down_blocks,
            residual_blocks=residual or shape.residual_blocks,
        ),
        keypoints=width(detector, "kp.weight", published.keypoints),
        align_corners=align_corners,
    )


def load_fomm(path: Path, *, align_corners: bool) -> Fomm:
    """The model of a checkpoint, ready for inference; every tensor must fit.

    Raises ``StateMismatchError`` with all that does not, of both parts.
    """
    parts = read_checkpoint(path)
    try:
        config = infer_config(parts, align_corners=align_corners)
    except StateMismatchError as refusal:
        raise StateMismatchError(f"{path}: {refusal}") from None
    model = without_numbers(lambda: Fomm(config))
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
