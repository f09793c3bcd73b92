"""Another person's face, fitted, matched in colour and cloned in. For evaluation: nothing trains on it."""

from __future__ import annotations

import cv2
import numpy as np

from .geometry import BROWS, LIPS, OUTLINE, Picture, Points, face_width
from .masks import face_mask


def make(
    rng: np.random.Generator, picture: Picture, points: Points, donor: Picture, donor_points: Points
) -> Picture:
    """``picture`` with the face of ``donor``; both [H, W, 3] BGR."""
    height, width = picture.shape[:2]
    shared = [*OUTLINE, *BROWS, *LIPS]
    # least squares over all points: what leaves points out fits a turned head to one half of the face
    given = np.column_stack((donor_points[shared, :2].astype(np.float64), np.ones(len(shared))))
    fit = np.linalg.lstsq(given, points[shared, :2], rcond=None)[0].T.astype(np.float32)
    face = cv2.warpAffine(donor, fit, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    inside = face_mask(rng, points, height, width, "outline", hard=True, deform=False) > 0.5
    radius = max(2, int(0.03 * face_width(points)))
    mask = cv2.erode(inside.astype(np.uint8), np.ones((radius, radius), np.uint8))
    mask[[0, 1, -2, -1]] = 0  # what is cloned has to stay clear of the frame
    mask[:, [0, 1, -2, -1]] = 0
    if not mask.any():
        return picture.copy()
    target, given = picture[mask > 0].astype(np.float32), face[mask > 0].astype(np.float32)
    gain = np.clip(target.std(0) / (given.std(0) + 1), 0.6, 1.6)
    matched = np.clip((face - given.mean(0)) * gain + target.mean(0), 0, 255).astype(np.uint8)
    left, top, wide, high = cv2.boundingRect(mask)
    middle = (left + wide // 2, top + high // 2)
    return cv2.seamlessClone(matched, picture, mask * 255, middle, cv2.NORMAL_CLONE).astype(np.uint8)
