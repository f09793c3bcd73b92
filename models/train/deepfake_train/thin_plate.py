"""Thin-plate splines: the smoothest warp of the plane that carries given points onto given points."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def _kernel(a: Floats, b: Floats) -> Floats:
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return 0.5 * squared * np.log(np.maximum(squared, 1e-12))


def thin_plate_map(
    at: Floats, to: Floats, size: int, *, stiffness: float = 0.0, step: int = 4
) -> NDArray[np.float32]:
    """[size, size, 2]: for every pixel of a square picture where the warp that takes ``at`` to ``to`` carries
    it.

    The coordinates are scaled to the picture, so ``stiffness`` does not depend on its size: 0 meets all
    points exactly, more smooths over points that disagree. The warp is computed on every ``step``-th pixel
    and interpolated.
    """
    source, target, count = at / size, to / size, len(at)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = _kernel(source, source) + stiffness * np.eye(count)
    system[:count, count], system[:count, count + 1 :] = 1.0, source
    system[count:, :count] = system[:count, count:].T
    weights = np.linalg.solve(system, np.concatenate((target, np.zeros((3, 2)))))
    line = np.arange(0, size + step, step) / size
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    moved = _kernel(grid, source) @ weights[:count] + weights[count] + grid @ weights[count + 1 :]
    coarse = (moved * size).reshape(len(line), len(line), 2).astype(np.float32)
    y, x = (np.mgrid[0:size, 0:size] / step).astype(np.float32)
    return np.stack([cv2.remap(coarse[..., axis], x, y, cv2.INTER_LINEAR) for axis in (0, 1)], -1)
