"""Key-points must move with the picture: a random smooth transformation, and what must then hold."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ...fomm import Keypoints, coordinate_grid, inverse_2x2, product_2x2

AFFINE, BEND, CONTROLS = 0.05, 0.005, 5
"""Standard deviations of the affine part and of the thin-plate weights; control points along a side."""
GRID = 48
"""Places along a side where the transformation of pictures is computed; between them it is interpolated."""
MOST = 10.0
"""No entry of a product of frames counts for more: a nearly singular frame would drown the batch."""


class Transformation:
    """p -> A p + t + thin-plate terms at a grid of control points, and its derivative; one a picture."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        device = generator.device

        def normal(*shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=generator, device=device)

        self.matrix = torch.eye(2, device=device) + AFFINE * normal(2, 2)
        self.shift = AFFINE * normal(2)
        self.controls = coordinate_grid(CONTROLS, CONTROLS, self.matrix).reshape(-1, 2)
        self.bends = BEND * normal(CONTROLS**2)

    def points(self, p: Tensor) -> Tensor:
        """Where points [N, P, 2] go."""
        away = p[:, :, None] - self.controls
        squared = (away**2).sum(-1)
        bump = squared * torch.log(squared + 1e-9) / 2
        straight = (self.matrix[:, None] * p[..., None, :]).sum(-1) + self.shift[:, None]
        return straight + (bump * self.bends[:, None]).sum(-1, keepdim=True)

    def derivative(self, p: Tensor) -> Tensor:
        """Of `points` at points [N, P, 2]: [N, P, 2, 2]."""
        away = p[:, :, None] - self.controls
        squared = (away**2).sum(-1)
        slope = torch.log(squared + 1e-9) + squared / (squared + 1e-9)
        gradient = ((slope * self.bends[:, None])[..., None] * away).sum(2)
        return self.matrix[:, None] + gradient[..., None, :]

    def pictures(self, x: Tensor) -> Tensor:
        """Pictures that show at p what ``x`` [N, C, H, W] shows at ``points(p)``."""
        grid = coordinate_grid(GRID, GRID, x).reshape(1, -1, 2).expand(len(x), -1, -1)
        places = self.points(grid).reshape(len(x), GRID, GRID, 2).permute(0, 3, 1, 2)
        places = functional.interpolate(places, size=x.shape[-2:], mode="bilinear", align_corners=True)
        places = places.permute(0, 2, 3, 1)
        return functional.grid_sample(x, places, padding_mode="reflection", align_corners=True)


def equivariance(
    found: Keypoints, found_in_transformed: Keypoints, transformation: Transformation
) -> tuple[Tensor, Tensor]:
    """How far the key-points of pictures and of transformed pictures disagree, and their frames.

    Both are means of absolute differences: of coordinates, and of inv(J) T' J' from the identity.
    """
    back = transformation.points(found_in_transformed.value)
    frames = product_2x2(transformation.derivative(found_in_transformed.value), found_in_transformed.jacobian)
    product = product_2x2(inverse_2x2(found.jacobian), frames)
    identity = torch.eye(2, device=product.device)
    return (found.value - back).abs().mean(), (product - identity).abs().clamp(max=MOST).mean()
