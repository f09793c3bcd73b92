"""What a picture's face looks like to FaceMesh: the points that it finds, with gradients to the pixels.

A motion model is asked by it for the driver's expression in the finished picture. Losses on flow cannot ask
for what the source does not show: the inside of a mouth, and lids that are shut.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...manifest import network_path, read_kind
from ...networks.onnx_torch import OnnxNetwork
from ..landmarks import EYE_CORNERS
from .losses import OPENINGS

LEFT, RIGHT = EYE_CORNERS[0][0], EYE_CORNERS[1][0]
"""The outer corners of the eyes, which say how a face is turned in the plane."""
SHIFT, SCALE, TURN = 0.04, 0.08, 0.08
"""Most that a crop is moved, in parts of its side, and widened, in parts of 1, and turned, in radians: the
points must be right whichever way the face is cut out, which no pattern of single pixels achieves."""


class ExpressionReader(nn.Module):
    """FaceMesh of the zoo; it is not trained."""

    def __init__(self, folder: Path) -> None:
        """``folder``: the zoo's ``facemesh``. Raises ``manifest.WrongKindError`` for another model."""
        super().__init__()
        manifest = read_kind(folder, "face-landmarks")
        about = manifest["landmarks"]
        self._network = OnnxNetwork(network_path(folder, manifest), (about["output"],))
        self._side, self._crop_scale = manifest["input"]["width"], about["crop_scale"]

    def forward(self, pictures: Tensor, squares: Tensor) -> Tensor:
        """Points [N, 468, 2] that it finds in ``squares`` (see `face_squares`), in parts of a square's side,
        the middle being 0. Pictures are RGB [N, 3, S, S] in 0..1."""
        grid = functional.affine_grid(squares, [len(pictures), 3, self._side, self._side], align_corners=True)
        crops = functional.grid_sample(
            pictures, grid, mode="bilinear", padding_mode="border", align_corners=True
        )
        (found,) = self._network(crops.permute(0, 2, 3, 1))
        return found.reshape(len(pictures), -1, 3)[..., :2] / self._side - 0.5

    def squares(self, points: Tensor, generator: torch.Generator) -> Tensor:
        """Where to look: the squares that FaceMesh wants about faces, moved a little."""
        return face_squares(points, self._crop_scale, generator)


def face_squares(points: Tensor, scale: float, generator: torch.Generator) -> Tensor:
    """Squares [N, 2, 3], as `affine_grid` wants them, about faces of points [N, P, 2] in -1..1: upright as
    the faces are, of ``scale`` times their size; moved, widened and turned at random."""
    count, device = len(points), points.device

    def spread(most: float, *shape: int) -> Tensor:
        return most * (2 * torch.rand(count, *shape, generator=generator, device=device) - 1)

    low, high = points.amin(1), points.amax(1)
    across = points[:, RIGHT] - points[:, LEFT]
    # in a mirrored picture the numbers of left and right have changed places, and the face is not upside down
    across = torch.where(across[:, :1] < 0, -across, across)
    angle = torch.atan2(across[:, 1], across[:, 0]) + spread(TURN)
    half = scale * (high - low).amax(1) / 2 * (1 + spread(SCALE))
    middle = (low + high) / 2 + spread(SHIFT, 2) * 2 * half[:, None]
    cos, sin = angle.cos() * half, angle.sin() * half
    rows = (torch.stack((cos, -sin, middle[:, 0]), 1), torch.stack((sin, cos, middle[:, 1]), 1))
    return torch.stack(rows, 1)


def points_loss(made: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean distance, per coordinate, of points [N, P, 2]; ``weights`` [P]."""
    distance = (made - wanted).abs().mean(-1)
    return (distance * weights).sum() / (weights.sum() * len(made))


def openings_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute error, per coordinate, of how far lips and lids of points [N, 468, 2] are apart; lips and
    lids weigh the same."""
    errors = []
    for pairs in OPENINGS:
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        of_made, of_wanted = (points[:, second] - points[:, first] for points in (made, wanted))
        errors.append((of_made - of_wanted).abs().mean())
    return torch.stack(errors).mean()
