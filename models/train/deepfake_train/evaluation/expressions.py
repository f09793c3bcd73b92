"""Mouth, eyes and head in terms of the 468 FaceMesh points: where they are, how far they are open or turned,
and how much of a driver's motion a prediction takes over.

Points are [468, 2] in pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..faces import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, Points
from .pictures import Region

UPPER_LIP, LOWER_LIP = 13, 14  # inner edges
NOSE_TIP = 1
LIPS = (61, 291, 0, 17, 37, 267, 84, 314, 39, 269, 181, 405, 40, 270, 91, 321)
EYES = ((33, 133, 159, 145), (362, 263, 386, 374))  # two corners, upper lid, lower lid
MARGIN = 0.3
"""How much a box grows on each side, in parts of its longer side."""


def keypoint_distance(prediction: Points, truth: Points) -> float:
    """AKD of one frame: mean distance of corresponding points in pixels."""
    return float(np.linalg.norm(prediction - truth, axis=1).mean())


def mouth_opening(points: Points) -> float:
    """Gap between the lips, in parts of the distance between the outer corners of the eyes."""
    gap = np.linalg.norm(points[LOWER_LIP] - points[UPPER_LIP])
    return float(gap / np.linalg.norm(points[RIGHT_EYE_OUTER] - points[LEFT_EYE_OUTER]))


def eye_opening(points: Points) -> float:
    """Mean over both eyes of the gap between the lids, in parts of the distance between the corners."""
    ratios = [
        np.linalg.norm(points[lower] - points[upper]) / np.linalg.norm(points[left] - points[right])
        for left, right, upper, lower in EYES
    ]
    return float(np.mean(ratios))


def head_turn(points: Points) -> float:
    """How far the nose's tip lies to a side of the middle between the eyes' outer corners, along the line of
    the corners, in parts of their distance: 0 for a face seen from ahead."""
    left, right = points[LEFT_EYE_OUTER], points[RIGHT_EYE_OUTER]
    across = right - left
    return float((points[NOSE_TIP] - (left + right) / 2) @ across / (across @ across))


def mouth_region(points: Points, size: int) -> Region:
    """Box about the lips in a picture of that width."""
    return _region(points[list(LIPS)], size)


def eye_regions(points: Points, size: int) -> list[Region]:
    """A box about each eye."""
    return [_region(points[list(eye)], size) for eye in EYES]


def face_region(points: Points, size: int) -> Region:
    """Box about all points."""
    return _region(points, size, margin=0.0)


def _region(points: NDArray[np.float32], size: int, margin: float = MARGIN) -> Region:
    low, high = points.min(0), points.max(0)
    grow = margin * (high - low).max()
    left, top = np.clip(np.floor(low - grow), 0, size - 2).astype(int)
    right, bottom = np.clip(np.ceil(high + grow), 2, size).astype(int)
    return Region(int(left), int(top), max(int(right), int(left) + 1), max(int(bottom), int(top) + 1))


class Following(NamedTuple):
    """How a quantity of predictions follows that of the drivers.

    ``gain`` is the slope of the least-squares line: 1 moves as much as the driver, 0 not at all;
    ``correlation`` is Pearson's, -1..1, and 0 where nothing moves.
    """

    gain: float
    correlation: float


def following(clips: list[tuple[list[float], list[float]]]) -> Following:
    """Of (predictions, drivers) of each clip; deviations are taken from each clip's own mean, then pooled.

    So it counts how much is followed over time, not that people's mouths differ.
    """
    both = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in clips if len(a)]
    predicted = np.concatenate([a - a.mean() for a, _ in both]) if both else np.zeros(1)
    driving = np.concatenate([b - b.mean() for _, b in both]) if both else np.zeros(1)
    together, moved, predicted_moved = driving @ predicted, driving @ driving, predicted @ predicted
    if moved < 1e-12 or predicted_moved < 1e-12:
        return Following(0.0, 0.0)
    return Following(float(together / moved), float(together / np.sqrt(moved * predicted_moved)))
