"""Trained weights as a checkpoint that ``convert fomm`` and ``train fomm --start`` read."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ...checkpoint import load_fomm
from ...fomm import ConvBlock, Fomm


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


def renewed(model: Fomm, keypoints: Sequence[int]) -> Fomm:
    """The same model, but these key-points, by number, know nothing and do nothing yet.

    A training may leave key-points over: no place of the picture moves with them, so that nothing is learned
    for them any more. Begun anew, with anchors, they can be of use for something smaller, at no cost in
    speed. They are in the middle, wherever the face is; their motion gets the part of the mask that a place
    of even heat has (in fomm-lite a hundredth), and nothing else is concluded from it.
    """
    made = copy.deepcopy(model)
    detector, motion = made.keypoint_detector, made.generator.dense_motion_network
    first = motion.hourglass.encoder.down_blocks[0]
    assert isinstance(first, ConvBlock)
    inputs = first.conv.in_channels
    with torch.no_grad():
        for number in keypoints:
            frame = slice(4 * number, 4 * number + 4)
            for layer, rows in ((detector.kp, number), (detector.jacobian, frame), (motion.mask, number + 1)):
                assert layer.bias is not None
                layer.weight[rows] = 0
                layer.bias[rows] = 0
            assert detector.jacobian.bias is not None
            detector.jacobian.bias[frame] = torch.eye(2).flatten()
            # the hourglass reads a map and a small picture of each candidate, the background's first, and
            # passes them on behind its own features
            channels = torch.arange(4 * number + 4, 4 * number + 8)
            first.conv.weight[:, channels] = 0
            for layer in (motion.mask, motion.occlusion):
                layer.weight[:, layer.in_channels - inputs + channels] = 0
    return made


def blended(first: Fomm, second: Fomm, *, motion: float, painter: float) -> Fomm:
    """A model part of the way from one to another: ``motion`` in finding and moving, ``painter`` in the rest.

    Sensible between weights and what was fine-tuned from them, for what is lost by a short training is often
    won back before what was gained is.
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
    return model


def blend_files(first: Path, second: Path, out: Path, *, motion: float, painter: float) -> None:
    """The same of checkpoints; ``align_corners`` leaves no trace in them and does not matter here."""
    models = (load_fomm(path, align_corners=True) for path in (first, second))
    save_fomm(blended(*models, motion=motion, painter=painter), out)
