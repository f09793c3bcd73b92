"""Trained weights as a checkpoint that ``convert fomm`` and ``train fomm --start`` read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...checkpoint import load_fomm
from ...fomm import ConvBlock, Fomm
from ...unfolding import norms_do_nothing, unfolded_fomm


def save_fomm(model: Fomm, path: Path) -> None:
    """Writes the weights in half precision, in the published key layout, as ``load_fomm`` reads them."""
    parts: dict[str, nn.Module] = {"kp_detector": model.keypoint_detector, "generator": model.generator}
    torch.save(
        {
            name: {
                key: (tensor.half() if tensor.is_floating_point() else tensor).detach().cpu().contiguous()
                for key, tensor in network.state_dict().items()
            }
            for name, network in parts.items()
        },
        path,
    )


def read_fomm(path: Path, *, align_corners: bool) -> Fomm:
    """A model to begin with: of a checkpoint, or of a folder of the zoo, whose norms do nothing then."""
    return unfolded_fomm(path) if path.is_dir() else load_fomm(path, align_corners=align_corners)


def renewed(model: Fomm, keypoints: Sequence[int]) -> Fomm:
    """The same model, but these key-points, by number, know nothing and do nothing yet.

    A training may leave key-points over: no place of the picture moves with them, so that nothing is learned
    for them any more. Begun anew, with anchors, they can be of use for something smaller, at no cost in
    speed. They are in the middle, wherever the face is; their motion gets the part of the mask that a place
    of even heat has (in fomm-lite a hundredth), and nothing else is concluded from it.
    """
    made = copy.deepcopy(model)
    detector, motion = made.keypoint_detector, made.generator.dense_motion_network
    inputs = _first(made).in_channels
    with torch.no_grad():
        for number in keypoints:
            for parameter, place in _own(made, number):
                parameter[place] = 0
            assert detector.jacobian.bias is not None
            detector.jacobian.bias[4 * number : 4 * number + 4] = torch.eye(2).flatten()
            # the hourglass passes on what it reads behind its own features
            channels = torch.arange(4 * number + 4, 4 * number + 8)
            for layer in (motion.mask, motion.occlusion):
                layer.weight[:, layer.in_channels - inputs + channels] = 0
    return made


def _first(model: Fomm) -> nn.Conv2d:
    """What reads a map and a small picture of each candidate, the background's first."""
    block = model.generator.dense_motion_network.hourglass.encoder.down_blocks[0]
    assert isinstance(block, ConvBlock)
    return block.conv


def _own(model: Fomm, keypoint: int) -> list[tuple[Tensor, Any]]:
    """Parameters, with the places in them, that make a key-point, its frame and its part of the mask, and
    those that read it first."""
    detector, motion = model.keypoint_detector, model.generator.dense_motion_network
    frame, candidate = slice(4 * keypoint, 4 * keypoint + 4), keypoint + 1
    rows = ((detector.kp, keypoint), (detector.jacobian, frame), (motion.mask, candidate))
    places: list[tuple[Tensor, Any]] = []
    for layer, place in rows:
        assert layer.bias is not None
        places += [(layer.weight, place), (layer.bias, place)]
    channels = slice(4 * candidate, 4 * candidate + 4)
    return [*places, (_first(model).weight, (slice(None), channels))]


def blended(first: Fomm, second: Fomm, *, motion: float, painter: float, kept: Sequence[int] = ()) -> Fomm:
    """A model part of the way from one to another: ``motion`` in finding and moving, ``painter`` in the rest.

    Sensible between weights and what was fine-tuned from them, for what is lost by a short training is often
    won back before what was gained is. The key-points ``kept``, by number, stay those of the first model:
    half way between two places that mean something lies one that means nothing.
    """
    if first.config != second.config:
        raise ValueError(f"models of different widths: {first.config} and {second.config}")
    model = Fomm(first.config)
    for name in ("keypoint_detector", "generator"):
        start, end = (getattr(whole, name).state_dict() for whole in (first, second))
        state = {}
        for key, tensor in end.items():
            moves = name == "keypoint_detector" or key.startswith("dense_motion_network.")
            part = motion if moves else painter
            state[key] = torch.lerp(start[key], tensor, part) if tensor.is_floating_point() else tensor
        getattr(model, name).load_state_dict(state)
    with torch.no_grad():
        for number in kept:
            for (parameter, place), (before, _) in zip(_own(model, number), _own(first, number), strict=True):
                parameter[place] = before[place]
    return model


def blend_files(
    first: Path, second: Path, out: Path, *, motion: float, painter: float, kept: Sequence[int] = ()
) -> None:
    """The same of what `read_fomm` reads; ``align_corners`` is not in a checkpoint and no matter here."""
    start, tuned = (read_fomm(path, align_corners=True) for path in (first, second))
    if norms_do_nothing(start) != norms_do_nothing(tuned):
        raise ValueError(
            f"{first} and {second}: only one of them has its batch norms folded into the convolutions, so "
            "that there is nothing between the two; begin with what the training began with"
        )
    if missing := [number for number in kept if not 0 <= number < start.config.keypoints]:
        raise ValueError(
            f"key-points are 0 to {start.config.keypoints - 1}, and {missing[0]} is none of them"
        )
    save_fomm(blended(start, tuned, motion=motion, painter=painter, kept=kept), out)
