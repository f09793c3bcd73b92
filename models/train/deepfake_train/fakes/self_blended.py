"""Self-blended pictures, after Shiohara and Yamasaki, 2022: a picture on a differently treated copy of it."""

from __future__ import annotations

import cv2
import numpy as np

from .geometry import OUTLINE, Floats, Picture, Points, face_width, wobble
from .masks import face_mask
from .pixels import blend, jitter_colours, resample, sharpen, to_bytes


def make(rng: np.random.Generator, picture: Picture, points: Points) -> Picture:
    """The picture with its face from a copy of itself; [H, W, 3] BGR."""
    height, width = picture.shape[:2]
    wide = face_width(points)
    face, below = picture.astype(np.float32), picture.astype(np.float32)
    if rng.random() < 0.65:
        face = treat(rng, face)
    else:
        below = treat(rng, below)
    x, y = (float(value) for value in points[list(OUTLINE), :2].mean(0))
    move = cv2.getRotationMatrix2D((x, y), float(rng.normal(0, 1)), float(rng.uniform(0.95, 1.05)))
    move[:, 2] += rng.normal(0, 0.02 * wide, 2)
    face = cv2.warpAffine(face, move, (width, height), borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
    if rng.random() < 0.5:
        face = wobble(rng, face, 7, rng.uniform(0.004, 0.015) * wide)
    mask = face_mask(rng, points, height, width)
    opacity = rng.choice(np.array([0.5, 0.75, 1, 1, 1], np.float32))
    return to_bytes(blend(below, face, mask * opacity))


def treat(rng: np.random.Generator, picture: Floats) -> Floats:
    """Other colours, and another sharpness most of the time."""
    picture = jitter_colours(rng, picture, rng.uniform(0.4, 1.2))
    kind = rng.random()
    if kind < 0.5:
        picture = resample(rng, picture, rng.uniform(0.3, 0.75))
    elif kind < 0.85:
        picture = sharpen(picture, rng.uniform(0.8, 1.6), rng.uniform(0.5, 1.6))
    return np.clip(picture, 0, 255).astype(np.float32)
