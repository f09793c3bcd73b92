"""What a step learns from: two pictures of one person, and the same points in both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

# largest relative change of brightness, contrast, saturation, and of each colour
BRIGHTNESS, CONTRAST, SATURATION, TINT = 0.15, 0.15, 0.25, 0.04
LUMA = (0.299, 0.587, 0.114)


class Pairs(NamedTuple):
    """Source and driving pictures [N, 3, S, S], RGB in 0..1, and FaceMesh points [N, 468, 2] in -1..1."""

    source: Tensor
    driving: Tensor
    source_points: Tensor
    driving_points: Tensor


class PairSource(Protocol):
    """Where pairs come from."""

    def batch(self, count: int, generator: torch.Generator) -> Pairs:
        """``count`` pairs, the same ones for the same state of the generator."""


def joined(parts: Sequence[Pairs]) -> Pairs:
    """One batch of several."""
    return Pairs(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def mixed(sources: Sequence[tuple[PairSource, int]], generator: torch.Generator) -> Pairs:
    """A batch with so many pairs of each source."""
    return joined([source.batch(count, generator) for source, count in sources if count])


def augmented(pairs: Pairs, generator: torch.Generator, *, mirrored: bool = True) -> Pairs:
    """The colours of each pair changed, and half of them mirrored if that is allowed, both pictures alike.

    Points keep their numbers: in a mirrored picture those of the left eye are on the right one.
    """
    count, device = len(pairs.source), pairs.source.device

    def spread(most: float, *shape: int) -> Tensor:
        uniform = torch.rand(count, *shape, generator=generator, device=device)
        return (1 + most * (2 * uniform - 1)).reshape(count, -1, 1, 1)

    # drawn in any case, so that the colours are the same
    mirror = (torch.rand(count, generator=generator, device=device) < 0.5) & mirrored
    brightness, contrast, saturation = spread(BRIGHTNESS), spread(CONTRAST), spread(SATURATION)
    tint = spread(TINT, 3)
    luma = torch.tensor(LUMA, device=device).reshape(1, 3, 1, 1)

    def pictures(x: Tensor) -> Tensor:
        x = x * brightness
        mean = x.mean((1, 2, 3), keepdim=True)
        x = mean + (x - mean) * contrast
        grey = (x * luma).sum(1, keepdim=True)
        x = ((grey + (x - grey) * saturation) * tint).clamp(0, 1)
        return torch.where(mirror[:, None, None, None], x.flip(-1), x)

    def points(p: Tensor) -> Tensor:
        return torch.where(mirror[:, None, None], p * p.new_tensor([-1.0, 1.0]), p)

    return Pairs(
        pictures(pairs.source),
        pictures(pairs.driving),
        points(pairs.source_points),
        points(pairs.driving_points),
    )
