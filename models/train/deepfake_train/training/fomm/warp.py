"""A smooth warp of the plane that carries given points to given places, for a batch, on any device.

The interpolant is a sum of cones, one at each point, and an affine map: the spline with the kernel
phi(r) = -r. Unlike thin plates it does not overshoot where neighbours move apart or onto each other, as the
lips and the lids do.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def cone_spline(at: Tensor, values: Tensor, slack: Tensor, wanted: Tensor) -> Tensor:
    """Splines through ``values`` [N, P, D] ``at`` [N, P, 2], at the places ``wanted`` [N, Q, 2]: [N, Q, D].

    ``slack`` [N, P], above 0, is how far a point may be missed where its neighbours disagree, as a distance:
    half of a disagreement with a neighbour that is as near as the slack.
    """
    batch, count, _ = at.shape
    size = count + 3
    system = at.new_zeros(batch, size, size)
    system[:, :count, :count] = -torch.cdist(at, at, compute_mode="donot_use_mm_for_euclid_dist")
    system[:, :count, :count] += torch.diag_embed(slack)
    affine = torch.cat((torch.ones_like(at[..., :1]), at), -1)
    system[:, :count, count:] = affine
    system[:, count:, :count] = affine.transpose(1, 2)
    given = torch.cat((values, values.new_zeros(batch, 3, values.shape[-1])), 1)
    # in double precision, for points may nearly coincide
    weights = _solve(system.double(), given.double()).to(at.dtype)
    # the weights are negated, not the distances: that would take a third of the time of the whole warp
    distances = torch.cdist(wanted, at, compute_mode="donot_use_mm_for_euclid_dist")
    affine_part = weights[:, count : count + 1] + wanted @ weights[:, count + 1 :]
    return distances @ -weights[:, :count] + affine_part


def _solve(system: Tensor, given: Tensor) -> Tensor:
    """What [N, S, D] ``system`` [N, S, S] makes ``given`` of; without gradients on a CPU."""
    if system.is_cuda:
        return torch.linalg.solve(system, given)
    # by NumPy: PyTorch 2.15 with its MKL and more than one thread refuses every system of some hundred rows
    # ("Pivots given to lu_solve must all be greater or equal to 1")
    return torch.from_numpy(np.linalg.solve(system.numpy(), given.numpy()))
