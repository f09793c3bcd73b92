"""A drawn head before a textured ground: a face for tests that need no real one."""

from __future__ import annotations

import cv2
import numpy as np

from deepfake_train.fakes.geometry import BROWS, LEFT_EYE, LIPS, NOSE_TIP, OUTLINE, RIGHT_EYE, USED
from deepfake_train.fakes.pack import Face

SIDE = 200
MIDDLE = np.array((100.0, 105.0))


def face(seed: int = 0) -> Face:
    """A drawn head before a textured ground, with points where they belong."""
    rng = np.random.default_rng(seed)
    points = np.zeros((468, 3), np.float32)
    angles = np.linspace(0, 2 * np.pi, len(OUTLINE), endpoint=False) - np.pi / 2
    oval = np.stack((45 * np.cos(angles), 58 * np.sin(angles)), 1)
    points[list(USED), :2] = MIDDLE + rng.uniform(-15, 15, (len(USED), 2))
    points[list(OUTLINE), :2] = MIDDLE + oval
    points[list(BROWS), :2] = MIDDLE + np.stack(
        (np.linspace(-28, 28, len(BROWS)), np.full(len(BROWS), -25)), 1
    )
    points[list(LIPS), :2] = MIDDLE + np.stack((np.linspace(-16, 16, len(LIPS)), np.full(len(LIPS), 28)), 1)
    for eye, x in ((LEFT_EYE, -18), (RIGHT_EYE, 18)):
        points[list(eye), :2] = MIDDLE + np.array([(x - 7, -14), (x + 7, -14), (x, -17), (x, -11)])
    points[NOSE_TIP, :2] = MIDDLE + np.array((0, 6))
    points[list(USED), 2] = 0.02 * ((points[list(USED), :2] - MIDDLE) ** 2).sum(1) - 30
    picture = cv2.resize(rng.integers(60, 190, (50, 50, 3)).astype(np.uint8), (SIDE, SIDE)).astype(np.int16)
    picture += rng.integers(-25, 25, picture.shape)
    return Face(
        np.clip(picture, 0, 255).astype(np.uint8), points, np.array([55, 47, 90, 116], np.float32), "drawn"
    )
