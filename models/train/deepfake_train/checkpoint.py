"""Reading checkpoints, the published ones and our own, without running code from them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .fomm import Fomm, FommConfig, GeneratorConfig, HourglassConfig

State = dict[str, Tensor]


def read_tensors(path: Path) -> Any:  # noqa: ANN401 - whatever was saved
    """What ``torch.save`` wrote, in the zip or the older plain-pickle container, if it holds only plain data.

    Raises ``ValueError`` for a file whose pickle wants anything else, none of which is run.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(
            f"{path} is refused, for it is not a checkpoint of tensors alone: {error}"
        ) from error


def read_checkpoint(path: Path) -> dict[str, State]:
    """The state dicts ``kp_detector`` and ``generator`` in float32."""
    content = read_tensors(path)
    parts = {}
    for name in ("kp_detector", "generator"):
        if name not in content:
            raise ValueError(f"{path}: no '{name}' in this checkpoint, only {sorted(content)}")
        parts[name] = {
            key: tensor.float() if tensor.is_floating_point() else tensor
            for key, tensor in content[name].items()
        }
    return parts


def _hourglass_config(state: State, prefix: str) -> HourglassConfig:
    widths: list[int] = []
    while (key := f"{prefix}.encoder.down_blocks.{len(widths)}.conv.weight") in state:
        widths.append(state[key].shape[0])
    base = state[f"{prefix}.decoder.up_blocks.{len(widths) - 1}.conv.weight"].shape[0]
    return HourglassConfig(base, max(widths), len(widths))


def infer_config(parts: dict[str, State], *, align_corners: bool) -> FommConfig:
    """The configuration whose shapes these tensors have; ``align_corners`` leaves no trace in them."""
    detector, generator = parts["kp_detector"], parts["generator"]
    down = sum(key.startswith("down_blocks.") and key.endswith(".conv.weight") for key in generator)
    residual = sum(key.startswith("bottleneck.") and key.endswith(".conv1.weight") for key in generator)
    return FommConfig(
        keypoint_hourglass=_hourglass_config(detector, "predictor"),
        motion_hourglass=_hourglass_config(generator, "dense_motion_network.hourglass"),
        generator=GeneratorConfig(
            base=generator["first.conv.weight"].shape[0],
            maximum=generator[f"down_blocks.{down - 1}.conv.weight"].shape[0],
            down_blocks=down,
            residual_blocks=residual,
        ),
        keypoints=detector["kp.weight"].shape[0],
        align_corners=align_corners,
    )


def load_fomm(path: Path, *, align_corners: bool) -> Fomm:
    """The model of a checkpoint, ready for inference; every tensor must fit."""
    parts = read_checkpoint(path)
    model = Fomm(infer_config(parts, align_corners=align_corners))
    model.keypoint_detector.load_state_dict(parts["kp_detector"], strict=True)
    model.generator.load_state_dict(parts["generator"], strict=True)
    model.keypoint_detector.down.restore()
    model.generator.dense_motion_network.down.restore()
    return model
