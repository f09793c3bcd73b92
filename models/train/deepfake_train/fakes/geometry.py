"""Where the parts of a face lie among the 468 FaceMesh points, and the warps that the families share.

Points are [468, 2] or [468, 3] in pixels of their picture, x to the right, y down, z away from the camera in
the unit of x. Only those of `USED` are ever read, so that a pack may leave the others out.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from ..average_portrait import similarity

Floats = NDArray[np.float32]
Points = NDArray[np.float32]
Picture = NDArray[np.uint8]

FACEMESH_POINTS = 468
# fmt: off
OUTLINE = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
           152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
BROWS = (46, 53, 52, 65, 55, 285, 295, 282, 283, 276)
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
INNER_LIPS = (13, 14)
LEFT_EYE, RIGHT_EYE = (33, 133, 159, 145), (362, 263, 386, 374)
NOSE_TIP = 1
NOSE_AND_CHEEKS = (0, 1, 4, 5, 6, 9, 50, 151, 168, 195, 197, 205, 280, 425)
# fmt: on

USED = tuple(sorted({*OUTLINE, *BROWS, *LIPS, *INNER_LIPS, *LEFT_EYE, *RIGHT_EYE, *NOSE_AND_CHEEKS}))
"""The 81 points that the families read."""

DEPTH = 0.45
"""How far the nose of a face that is given without depth stands out, in widths of the face."""


def face_width(points: Points) -> float:
    """From ear to ear, in pixels."""
    return float(np.ptp(points[list(OUTLINE), 0]))


def five_points(points: Points) -> Floats:
    """[5, 2]: both eyes, the tip of the nose, both corners of the mouth."""
    eyes = [points[list(eye), :2].mean(0) for eye in (LEFT_EYE, RIGHT_EYE)]
    return np.stack([*eyes, points[NOSE_TIP, :2], points[LIPS[0], :2], points[LIPS[-1], :2]]).astype(
        np.float32
    )


def alignment(source: Floats, target: Floats) -> Floats:
    """[2, 3]: the similarity that takes the points ``source`` closest to ``target``."""
    matrix, offset = similarity(source, target)
    return np.hstack((matrix, np.reshape(offset, (2, 1)))).astype(np.float32)


def with_depth(points: Points) -> Floats:
    """[81, 3] of `USED`; where no depth is known, that of half an ellipsoid."""
    used = points[list(USED)].astype(np.float32)
    if points.shape[1] == 3:
        return used
    outline = points[list(OUTLINE), :2]
    middle = (outline.min(0) + outline.max(0)) / 2
    radius = np.linalg.norm((used - middle) / (np.ptp(outline, axis=0) / 2), axis=1)
    depth = -DEPTH * face_width(points) * np.sqrt(np.clip(1 - radius**2, 0, 1))
    return np.column_stack((used, depth)).astype(np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> Floats:
    """[3, 3] of angles in radians: about y, then x, then z."""
    about_y = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    about_x = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    about_z = [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    return (np.array(about_z) @ np.array(about_x) @ np.array(about_y)).astype(np.float32)


def smooth_field(rng: np.random.Generator, height: int, width: int, cells: int, deviation: float) -> Floats:
    """[height, width] of noise that changes over a ``cells``-th of the picture."""
    coarse = rng.normal(0, deviation, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)


def pixel_grid(height: int, width: int) -> tuple[Floats, Floats]:
    """x and y of every pixel, [height, width] each."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return x, y


def wobble(rng: np.random.Generator, picture: Floats, cells: int, deviation: float) -> Floats:
    """The picture with its pixels moved by a smooth field of that many pixels."""
    height, width = picture.shape[:2]
    x, y = pixel_grid(height, width)
    return cv2.remap(
        picture,
        x + smooth_field(rng, height, width, cells, deviation),
        y + smooth_field(rng, height, width, cells, deviation),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    ).astype(np.float32)
