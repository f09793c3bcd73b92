"""Trained weights as a checkpoint that ``convert fomm`` and ``train fomm --start`` read."""

from __future__ import annotations

from pathlib import Path

import torch

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
