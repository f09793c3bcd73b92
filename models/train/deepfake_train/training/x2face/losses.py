"""What X2Face is trained to lessen: the distance of the picture it makes to the driving picture of the same
person.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

HALVINGS = (0, 2, 4)


def photometric(prediction: Tensor, driving: Tensor) -> Tensor:
    """Mean absolute difference of pictures [N, 3, H, W], at the full size and at a quarter and a sixteenth of
    it.

    The paper has the full size alone. Sampling fields only learn from a difference that reaches as far as the
    next edge; in small pictures a face that is ten pixels off still overlaps itself.
    """
    terms = [
        (functional.avg_pool2d(prediction, 1 << by) - functional.avg_pool2d(driving, 1 << by)).abs().mean()
        for by in HALVINGS
    ]
    return sum(terms[1:], start=terms[0]) / len(terms)


def roughness(grid: Tensor) -> Tensor:
    """How much a sampling field [N, H, W, 2] bends: mean absolute second difference, in pixels.

    A field that is free at every pixel puts a face together out of scattered pixels of like colour. Moving,
    turning and scaling a part costs nothing.
    """
    rows = grid[:, 2:] - 2 * grid[:, 1:-1] + grid[:, :-2]
    columns = grid[:, :, 2:] - 2 * grid[:, :, 1:-1] + grid[:, :, :-2]
    return (rows.abs().mean() + columns.abs().mean()) * (grid.shape[1] - 1) / 2


def guidance(grid: Tensor, at: Tensor, target: Tensor) -> Tensor:
    """How far a field [N, 256, 256, 2] misses where it should lead from some points, in pixels.

    It should lead from the points ``at`` [N, P, 2] to the points ``target`` [N, P, 2], both in [-1, 1];
    points outside of the picture do not count.

    This is ours, not the paper's: with the points of a face mesh for both, each network is told by itself
    where the parts of the face are in the embedded face, which the error of the picture tells only both
    together, and slowly.
    """
    led = functional.grid_sample(grid.permute(0, 3, 1, 2), at[:, None], align_corners=True)[
        :, :, 0
    ].transpose(1, 2)
    seen = ((at.abs().amax(-1) < 1) & (target.abs().amax(-1) < 1)).to(led.dtype)
    missed = torch.linalg.vector_norm(led - target, dim=-1)
    return (missed * seen).sum() / seen.sum().clamp(min=1) * (grid.shape[1] - 1) / 2
