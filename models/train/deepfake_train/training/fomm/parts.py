"""Cuts out of pictures at their own resolution: the mouth, the eyes, and a place anywhere on the face."""

from __future__ import annotations

import torch
from torch import Tensor

from ..landmarks import EYES, MOUTH, POINTS

# height and width of the cuts, of the side of the picture; they hold the part in most poses
MOUTH_SIZE, EYES_SIZE, PLACE_SIZE = (0.22, 0.32), (0.16, 0.5), (0.25, 0.25)


def cut(pictures: Tensor, middle: Tensor, size: tuple[float, float]) -> Tensor:
    """Cuts [N, C, h, w] about ``middle`` [N, 2] in -1..1 of pictures [N, C, S, S], moved inside where needed.

    Whole pixels are taken, none is interpolated: what is compared is as sharp as the pictures.
    """
    count, _, side, _ = pictures.shape
    height, width = (max(4, round(part * side / 4) * 4) for part in size)
    pixel = (middle + 1) * ((side - 1) / 2)
    x = (pixel[:, 0] - (width - 1) / 2).round().long().clamp(0, side - width)
    y = (pixel[:, 1] - (height - 1) / 2).round().long().clamp(0, side - height)
    rows = (y[:, None] + torch.arange(height, device=y.device))[:, :, None]
    columns = (x[:, None] + torch.arange(width, device=x.device))[:, None]
    batch = torch.arange(count, device=x.device)[:, None, None]
    return pictures.permute(0, 2, 3, 1)[batch, rows, columns].permute(0, 3, 1, 2)


def face_parts(pictures: Tensor, points: Tensor, place: Tensor) -> list[Tensor]:
    """Mouth, eyes and the surroundings of point number ``place`` [N], by FaceMesh ``points`` [N, 468, 2].

    Both of a pair to be compared must be cut by the same points.
    """
    eyes = [index for eye in EYES for index in eye]
    anywhere = points[torch.arange(len(points), device=points.device), place.clamp(0, POINTS - 1)]
    return [
        cut(pictures, points[:, list(MOUTH)].mean(1), MOUTH_SIZE),
        cut(pictures, points[:, eyes].mean(1), EYES_SIZE),
        cut(pictures, anywhere, PLACE_SIZE),
    ]
