"""The face turned a few degrees in three dimensions by its own landmarks and pasted back."""

from __future__ import annotations

import cv2
import numpy as np

from ..thin_plate import thin_plate_map
from .geometry import (
    INNER_LIPS,
    LIPS,
    OUTLINE,
    USED,
    Floats,
    Picture,
    Points,
    face_width,
    rotation,
    with_depth,
)
from .masks import Region, face_mask
from .pixels import ENLARGING, SHRINKING, blend, choose, jitter_colours, to_bytes

MOST_TURN: dict[Region, float] = {"outline": 0.28, "inner": 0.12}
"""Radians."""
STIFFNESS = 2e-3
_GRID = 16
_MOUTH = [USED.index(index) for index in (*LIPS, *INNER_LIPS)]
_OUTLINE = [USED.index(index) for index in OUTLINE]


def make(rng: np.random.Generator, picture: Picture, points: Points) -> Picture:
    """The picture with its face turned; [H, W, 3] BGR."""
    height, width = picture.shape[:2]
    region: Region = "outline" if rng.random() < 0.75 else "inner"
    before = with_depth(points)
    after = turn(rng, before, MOST_TURN[region], face_width(points))
    whole = picture.astype(np.float32)
    face = whole
    if rng.random() < 0.6:  # animators work at 256 pixels or less
        scale = rng.uniform(0.35, 0.8)
        size = (max(8, round(width * scale)), max(8, round(height * scale)))
        small = cv2.resize(face, size, interpolation=choose(rng, SHRINKING))
        face = cv2.resize(small, (width, height), interpolation=choose(rng, ENLARGING)).astype(np.float32)
    back = backward_map(before[:, :2], after[:, :2], height, width)
    face = cv2.remap(
        face, back[..., 0], back[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    ).astype(np.float32)
    if rng.random() < 0.4:
        face = cv2.GaussianBlur(face, (0, 0), rng.uniform(0.5, 1.0)).astype(np.float32)
    if rng.random() < 0.3:
        face = jitter_colours(rng, face, rng.uniform(0.2, 0.7))
    moved = points[:, :2].copy()
    moved[list(USED)] = after[:, :2]
    mask = face_mask(rng, moved, height, width, region)
    return to_bytes(blend(whole, face, mask))


def turn(rng: np.random.Generator, points: Floats, most: float, wide: float) -> Floats:
    """[81, 3] of `USED`, turned about the middle of the head, half the time with a moved mouth."""
    angles = rng.uniform(0.05, most, 3) * rng.choice([-1, 1], 3) * (1, 0.8, 0.3)
    middle = points.mean(0) + np.array([0, 0, 0.2 * wide], np.float32)
    after = (points - middle) @ rotation(*angles).T + middle
    if rng.random() < 0.5:
        after[_MOUTH, 1] += rng.normal(0, 0.03) * wide
    return after.astype(np.float32)


def backward_map(before: Floats, after: Floats, height: int, width: int) -> Floats:
    """[height, width, 2]: where each pixel comes from if ``before`` [N, 2] goes to ``after``."""
    side = max(height, width)
    line = np.linspace(0, 1, 7)
    frame = [(x, y) for x in line for y in (0, 1)] + [(x, y) for x in (0, 1) for y in line[1:-1]]
    pinned = np.array(frame) * (width - 1, height - 1)
    at, to = np.vstack((after, pinned)), np.vstack((before, pinned))
    whole = thin_plate_map(at.astype(float), to.astype(float), side, stiffness=STIFFNESS, step=_GRID)
    return np.ascontiguousarray(whole[:height, :width])
