"""How alike two pictures are, pixel by pixel.

Pictures are [H, W, 3] bytes of one size; every measure takes the prediction first and the truth second.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..faces import Picture

WINDOW, DEVIATION = 11, 1.5  # of the Gaussian window of Wang et al., 2004
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
IDENTICAL_PSNR = 100.0


class Region(NamedTuple):
    """A box in whole pixels; right and bottom are outside."""

    left: int
    top: int
    right: int
    bottom: int

    def of(self, picture: Picture) -> Picture:
        """What lies in the box."""
        return picture[self.top : self.bottom, self.left : self.right]


def l1(prediction: Picture, truth: Picture) -> float:
    """Mean absolute difference of values in 0..1."""
    return float(np.abs(prediction.astype(np.float32) - truth.astype(np.float32)).mean() / 255)


def psnr(prediction: Picture, truth: Picture) -> float:
    """Peak signal-to-noise ratio in dB over all channels together; equal pictures get a large number."""
    error = float(np.square(prediction.astype(np.float64) - truth.astype(np.float64)).mean())
    return IDENTICAL_PSNR if error == 0 else min(10 * math.log10(255**2 / error), IDENTICAL_PSNR)


def ssim(prediction: Picture, truth: Picture) -> float:
    """Structural similarity: mean over channels and over the places where the whole window is inside."""
    x, y = prediction.astype(np.float64), truth.astype(np.float64)
    mean_x, mean_y = _window(x), _window(y)
    variance_x, variance_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    above = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    below = (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    return float((above / below).mean())


def sharpness(prediction: Picture, truth: Picture) -> float:
    """Variance of the Laplacian, as a part of the truth's: 1 is as sharp, less is softer."""
    return _laplacian_variance(prediction) / max(_laplacian_variance(truth), 1e-9)


def _laplacian_variance(picture: Picture) -> float:
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.CV_64F).var())


def _window(values: NDArray[np.float64]) -> NDArray[np.float64]:
    blurred = cv2.GaussianBlur(values, (WINDOW, WINDOW), DEVIATION)
    border = WINDOW // 2
    return np.asarray(blurred[border:-border, border:-border], np.float64)
