"""Which crop about the FaceMesh points equals the crop that the classifier was trained with.

The training crops are squares of 1.4 x the longer side of another detector's box; the plugin has no such box
but landmarks. Both are known for the faces of the training pack.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

TRAINED_SCALE = 1.4


class CropFit(NamedTuple):
    """Medians over the faces, and how far from them the middle 90 % lie."""

    scale: float
    shift: tuple[float, float]
    scale_spread: tuple[float, float]


def fit_crop(pack: Path) -> CropFit:
    """``pack`` holds ``lm``, points on each face and its outline, and ``box``, x, y, width, height."""
    with np.load(pack) as content:
        points = content["lm"][..., :2].astype(np.float64)
        boxes = content["box"].astype(np.float64)
    low, high = points.min(1), points.max(1)
    longest = (high - low).max(1)
    scale = TRAINED_SCALE * boxes[:, 2:].max(1) / longest
    shift = (boxes[:, :2] + boxes[:, 2:] / 2 - (low + high) / 2) / longest[:, None]
    x, y = np.median(shift, axis=0)
    few, most = np.percentile(scale, [5, 95])
    return CropFit(float(np.median(scale)), (float(x), float(y)), (float(few), float(most)))
