"""How different pictures are to a network that was trained to see: the convolutions of VGG-16."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BLOCKS = (2, 2, 3, 3, 3)
"""Convolutions in each block; between blocks a 2x2 maximum."""


class Vgg16(nn.Module):
    """Features at the end of the first ``depth`` blocks: relu1_2, relu2_2, relu3_3, relu4_3, relu5_3."""

    def __init__(self, path: Path, depth: int = 5) -> None:
        """``path`` holds the weights ``w0``..``w12`` [out, in, 3, 3] and biases ``b0``..``b12``."""
        super().__init__()
        if not 1 <= depth <= len(BLOCKS):
            raise ValueError(f"depth {depth} is not in 1..{len(BLOCKS)}")
        self._count = sum(BLOCKS[:depth])
        self._ends = {sum(BLOCKS[: block + 1]) - 1 for block in range(depth)}
        with np.load(path) as content:
            for index in range(self._count):
                for name in (f"w{index}", f"b{index}"):
                    self.register_buffer(name, torch.from_numpy(content[name].astype(np.float32)))
        self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).reshape(1, 3, 1, 1))

    def forward(self, pictures: Tensor, depth: int = len(BLOCKS)) -> list[Tensor]:
        """Features of RGB pictures in 0..1, at most ``depth`` of them."""
        x = (pictures - self.get_buffer("mean")) / self.get_buffer("deviation")
        features: list[Tensor] = []
        for index in range(self._count):
            x = functional.conv2d(x, self.get_buffer(f"w{index}"), self.get_buffer(f"b{index}"), padding=1)
            x = functional.relu(x)
            if index in self._ends:
                features.append(x)
                if len(features) == depth or index == self._count - 1:
                    break
                x = functional.max_pool2d(x, 2)
        return features


def feature_distance(network: nn.Module, made: Tensor, wanted: Tensor, **options: int) -> Tensor:
    """Sum over the features of the mean absolute difference; no gradient goes into ``wanted``."""
    with torch.no_grad():
        targets = network(wanted, **options)
    distances = [
        (a.float() - b.detach().float()).abs().mean()
        for a, b in zip(network(made, **options), targets, strict=True)
    ]
    return torch.stack(distances).sum()
