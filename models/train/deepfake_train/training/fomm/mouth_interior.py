"""Something to see in a mouth that a portrait shows closed: darkness, teeth, a tongue.

Without it the lips' own colour is stretched over the opening, and a network learns that mouths are empty.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ...fomm import coordinate_grid
from ..landmarks import INNER_LIP_LOWER, INNER_LIP_UPPER

DARK, TEETH, TONGUE = (0.16, 0.06, 0.05), (0.80, 0.75, 0.69), (0.52, 0.23, 0.23)
LOOKS = 5
"""Numbers in 0..1 that make a mouth's look: darkness, teeth or none, their height and shade, the tongue."""


def opened(before: Tensor, after: Tensor) -> Tensor:
    """How much of the mouth is to be painted, 0..1, for gaps of so many centimetres in the portrait and now.

    Mouths that the portrait shows open have something in them already.
    """
    return ((after - before - 0.15) / 0.35).clamp(0, 1) * (1 - ((before - 0.25) / 0.4).clamp(0, 1))


def _height(knots: Tensor, heights: Tensor, at: Tensor) -> Tensor:
    """Piecewise linear through (knots, heights) [M, K], at [M, Q]."""
    knots = torch.cummax(knots, 1)[0] + 1e-4 * torch.arange(knots.shape[1], device=knots.device)
    right = torch.searchsorted(knots, at.contiguous()).clamp(1, knots.shape[1] - 1)
    x0, x1 = knots.gather(1, right - 1), knots.gather(1, right)
    y0, y1 = heights.gather(1, right - 1), heights.gather(1, right)
    return y0 + (y1 - y0) * ((at - x0) / (x1 - x0)).clamp(0, 1)


def paint_mouth(
    pictures: Tensor, points: Tensor, amount: Tensor, centimetre: Tensor, light: Tensor, looks: Tensor
) -> Tensor:
    """Pictures [M, 3, S, S] with ``amount`` [M] of an interior between the lips.

    ``points`` [M, 468, 2] in -1..1, ``centimetre`` [M] in pixels, ``light`` [M] relative to a face in medium
    light, ``looks`` [M, LOOKS].
    """
    count, _, size, _ = pictures.shape
    pixels = (points + 1) * ((size - 1) / 2)
    corner = pixels[:, INNER_LIP_UPPER[0]]
    across = pixels[:, INNER_LIP_UPPER[-1]] - corner
    width = across.norm(dim=1, keepdim=True).clamp(min=2)
    across = across / width
    down = torch.stack((-across[:, 1], across[:, 0]), 1)

    def own(p: Tensor) -> tuple[Tensor, Tensor]:
        """Along the mouth, 0..1 between the corners, and below the line between them, in pixels."""
        away = p - corner[:, None]
        return (away * across[:, None]).sum(-1) / width, (away * down[:, None]).sum(-1)

    grid = (coordinate_grid(size, size, pictures).reshape(1, size * size, 2) + 1) * ((size - 1) / 2)
    along, below = own(grid.expand(count, -1, -1))
    upper = _height(*own(pixels[:, list(INNER_LIP_UPPER)]), along)
    lower = _height(*own(pixels[:, list(INNER_LIP_LOWER)]), along)
    inside = torch.minimum(below - upper, lower - below)
    within = ((along > 0) & (along < 1)).to(pictures.dtype)
    alpha = torch.sigmoid((inside - 0.3) / 0.5) * within * amount[:, None]
    middle = (4 * along * (1 - along)).clamp(0, 1).sqrt()  # corners lie in the dark
    darkness, has_teeth, height, shade, tongue_height = (looks[:, index, None] for index in range(LOOKS))
    cm = centimetre[:, None]

    def colour(rgb: tuple[float, float, float], factor: Tensor) -> Tensor:
        return pictures.new_tensor(rgb).reshape(1, 3, 1) * factor[:, None]

    paint = colour(DARK, (0.5 + darkness) * (0.6 + 0.4 * middle))
    tongue = torch.sigmoid((cm * (0.2 + 0.4 * tongue_height) - (lower - below)) / 2) * 0.7 * middle
    paint = torch.lerp(paint, colour(TONGUE, torch.ones_like(middle)), tongue[:, None].expand_as(paint))
    wide = ((lower - upper) / cm - 0.2).clamp(0, 0.3) / 0.3
    teeth = torch.sigmoid((cm * (0.25 + 0.4 * height) - (below - upper)) / 0.8) * (0.2 + 0.8 * middle)
    teeth = 0.9 * teeth * wide * (has_teeth > 0.35)
    paint = torch.lerp(paint, colour(TEETH, 0.75 + 0.25 * shade), teeth[:, None].expand_as(paint))
    paint = (paint * light[:, None, None]).reshape(count, 3, size, size)
    return torch.lerp(pictures, paint, alpha.reshape(count, 1, size, size).expand_as(pictures))
