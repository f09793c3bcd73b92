"""A discriminator of patches, which asks of parts of a face that they look taken by a camera."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (32, 64, 128)
SLOPE = 0.2


class Judgement(NamedTuple):
    """Scores [N, 1, h, w], 1 for real and 0 for made, and the features they come from."""

    scores: Tensor
    features: list[Tensor]


class PatchDiscriminator(nn.Module):
    """Three convolutions of stride 2 with instance norm, then a score for each patch of about 22 pixels."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        inputs = (3, *widths[:-1])
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in zip(inputs, widths, strict=True)
        )
        self.score = nn.Conv2d(widths[-1], 1, 1)

    def forward(self, pictures: Tensor) -> Judgement:
        x, features = pictures * 2 - 1, []
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index:
                x = functional.instance_norm(x)
            x = functional.leaky_relu(x, SLOPE)
            features.append(x)
        return Judgement(self.score(x).float(), features)


def discriminator_loss(real: Judgement, made: Judgement) -> Tensor:
    """Least squares: real patches at 1, made ones at 0."""
    return ((real.scores - 1) ** 2).mean() + (made.scores**2).mean()


def adversarial_loss(made: Judgement) -> Tensor:
    """Least squares: made patches at 1."""
    return ((made.scores - 1) ** 2).mean()


def feature_matching(real: Judgement, made: Judgement) -> Tensor:
    """Mean over the layers of the mean absolute difference of the features."""
    distances = [
        (a.float() - b.detach().float()).abs().mean()
        for a, b in zip(made.features, real.features, strict=True)
    ]
    return torch.stack(distances).mean()
