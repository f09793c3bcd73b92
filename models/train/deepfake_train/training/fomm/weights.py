"""Trained weights as a checkpoint that ``convert fomm`` and ``train fomm --start`` read."""

from __future__ import annotations

from pathlib import Path

import torch

from ...checkpoint import load_fomm
from ...fomm import Fomm


def save_fomm(model: Fomm, path: Path) -> None:
    """Writes the weights in half precision, in the published key layout, as ``load_fomm`` reads them."""
    parts = {"kp_detector": model.keypoint_detector, "generator": model.generator}
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
