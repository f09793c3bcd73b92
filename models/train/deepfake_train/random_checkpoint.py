"""A random checkpoint laid out as the published ``vox-adv-cpk.pth.tar``, to try and to time the conversion.

``python -m deepfake_train.random_checkpoint vox.pth.tar [--container zip] [--bare]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from .fomm import PRESETS, Fomm
from .random_fomm import random_fomm


def published_layout(model: Fomm) -> dict[str, Any]:
    """What the published training saves: networks, a discriminator, their optimisers and the epoch."""
    networks: dict[str, torch.nn.Module] = {
        "generator": model.generator,
        # stands for theirs, which is of no use here
        "discriminator": torch.nn.Sequential(torch.nn.Conv2d(3, 64, 4), torch.nn.Conv2d(64, 1, 1)),
        "kp_detector": model.keypoint_detector,
    }
    content: dict[str, Any] = {name: network.state_dict() for name, network in networks.items()}
    for name, network in networks.items():
        optimizer = torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        content[f"optimizer_{name}"] = optimizer.state_dict()
        optimizer.zero_grad(set_to_none=True)
    return content | {"epoch": 99}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--preset", choices=tuple(PRESETS), default="vox")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--container", choices=("legacy", "zip"), default="legacy")
    parser.add_argument("--bare", action="store_true", help="the two networks alone (vox: 228 MiB)")
    arguments = parser.parse_args()
    model = random_fomm(PRESETS[arguments.preset], arguments.seed)
    content = published_layout(model)
    if arguments.bare:
        content = {name: content[name] for name in ("generator", "kp_detector")}
    torch.save(content, arguments.out, _use_new_zipfile_serialization=arguments.container == "zip")


if __name__ == "__main__":
    main()
