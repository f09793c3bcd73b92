"""A made-up face with the numbering of FaceMesh where it matters, for tests without data."""

from __future__ import annotations

import math

import torch
from matplotlib.tri import Triangulation
from torch import Tensor

from deepfake_train.training.fomm.expressions import Expression, still_expression
from deepfake_train.training.fomm.stills import Stills
from deepfake_train.training.landmarks import (
    EYE_CORNERS,
    INNER_LIP_LOWER,
    INNER_LIP_UPPER,
    LOWER_LIDS,
    OUTER_LIP,
    OVAL,
    POINTS,
    SKIN,
    UPPER_LIDS,
)

WIDE, HIGH, DEEP = 7.5, 9.5, 6.0
SIDE = 288


def _places() -> dict[int, tuple[float, float]]:
    """x and y in centimetres of the points that have names, then a sunflower of the others."""
    places: dict[int, tuple[float, float]] = {}
    for turn, index in enumerate(OVAL):
        angle = 2 * math.pi * turn / len(OVAL)
        places[index] = (WIDE * 0.98 * math.sin(angle), -HIGH * 0.98 * math.cos(angle))
    for line, bow in ((INNER_LIP_LOWER, 0.25), (INNER_LIP_UPPER, -0.05)):
        for step, index in enumerate(line):
            x = step / (len(line) - 1) * 2 - 1
            places[index] = (2.3 * x, 4.5 + bow * (1 - x * x))
    for step, index in enumerate(OUTER_LIP):
        angle = 2 * math.pi * step / len(OUTER_LIP)
        places[index] = (-2.8 * math.cos(angle), 4.5 - 0.9 * math.sin(angle))
    for middle, corners, upper, lower in zip((-3, 3), EYE_CORNERS, UPPER_LIDS, LOWER_LIDS, strict=True):
        for line, bow in ((upper, -0.5), (lower, 0.4)):
            for step, index in enumerate(line):
                x = (step + 1) / (len(line) + 1) * 2 - 1
                places[index] = (middle + 1.4 * x, -3 + bow * (1 - x * x))
        for index, side in zip(corners, (-1, 1), strict=True):
            places[index] = (middle + 1.4 * side, -3.0)
    for index, place in zip(SKIN, ((-4, 2.0), (4, 2.1), (0.05, 1.0), (0.1, -5.5)), strict=True):
        places[index] = (float(place[0]), place[1])
    rest = [index for index in range(POINTS) if index not in places]
    for step, index in enumerate(rest):
        radius, angle = 0.94 * math.sqrt((step + 0.5) / len(rest)), step * math.pi * (3 - math.sqrt(5))
        places[index] = (WIDE * radius * math.cos(angle), HIGH * radius * math.sin(angle))
    return places


def face_points() -> Tensor:
    """[468, 3] in centimetres: half an ellipsoid, z away from the camera."""
    places = _places()
    xy = torch.tensor([places[index] for index in range(POINTS)], dtype=torch.float32)
    reach = (xy[:, 0] / WIDE) ** 2 + (xy[:, 1] / HIGH) ** 2
    return torch.cat((xy, -DEEP * (1 - reach).clamp(min=0).sqrt()[:, None]), 1)


def position_stills(count: int) -> Stills:
    """Portraits whose red and green are the place in the picture, and whose blue tells them apart."""
    face = face_points()
    line = (torch.linspace(0, 255, SIDE)).round().byte()
    pictures = torch.zeros(count, 3, SIDE, SIDE, dtype=torch.uint8)
    pictures[:, 0], pictures[:, 1] = line, line[:, None]
    pictures[:, 2] = (torch.arange(count) * 60)[:, None, None]
    scale = torch.full((count,), 9.0)
    shift = torch.tensor([SIDE / 2, SIDE / 2, 0.0]).expand(count, 3)
    return Stills(
        pictures=pictures,
        points=face * scale[:, None, None] + shift[:, None],
        scale=scale,
        rotation=torch.eye(3).expand(count, 3, 3),
        shift=shift,
        angles=torch.zeros(count, 2),
        triangles=torch.from_numpy(Triangulation(*face[:, :2].T.numpy()).triangles).long(),
    )


class NoExpressions:
    """Stands in for shapes of expressions: the face is stiff, but for the lids."""

    def draw(self, count: int, generator: torch.Generator) -> Expression:
        blink = torch.rand(count, 2, generator=generator)
        still = still_expression(count, torch.device("cpu"))
        return Expression(still.moves, still.gaze, blink)
