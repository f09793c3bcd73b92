"""The standard head of FaceMesh, and how it lies in a picture.

In its frame x points to the right of the picture, y down, z away from the camera, in centimetres.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..faces import Points

Floats = NDArray[np.float64]


class Head(NamedTuple):
    """``shape`` [468, 3] and the mesh, ``triangles`` [T, 3]."""

    shape: Floats
    triangles: NDArray[np.int64]


class Pose(NamedTuple):
    """points = scale * rotation @ shape + shift; ``error`` is the root mean square distance in the picture's
    plane, in centimetres of the head."""

    scale: float
    rotation: Floats
    shift: Floats
    error: float

    def angles(self) -> tuple[float, float, float]:
        """Yaw, pitch and roll in degrees."""
        turn = self.rotation
        pitch = np.arcsin(np.clip(turn[2, 1], -1, 1))
        yaw = np.arctan2(-turn[2, 0], turn[2, 2])
        roll = np.arctan2(-turn[0, 1], turn[1, 1])
        return float(np.degrees(yaw)), float(np.degrees(pitch)), float(np.degrees(roll))


def read_head(path: Path) -> Head:
    """From MediaPipe's ``canonical_face_model.obj`` (y up, z towards the camera), or a pack of portraits."""
    if path.suffix == ".npz":
        with np.load(path) as content:
            return Head(content["can"].astype(np.float64), content["tri"].astype(np.int64))
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    shape = np.array([line[1:4] for line in lines if line[:1] == ["v"]], np.float64) * (1, -1, -1)
    corners = [[int(corner.split("/")[0]) - 1 for corner in line[1:4]] for line in lines if line[:1] == ["f"]]
    return Head(shape, np.array(corners, np.int64))


def fit(head: Head, points: Points) -> Pose:
    """The similarity that takes the standard head to the points [468, 3] with the least squared distance."""
    middle, target = head.shape.mean(0), points.mean(0).astype(np.float64)
    a, b = head.shape - middle, points - target
    left, values, right = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((values * signs).sum() / np.square(a).sum())
    shift = target - scale * rotation @ middle
    missed = scale * head.shape @ rotation.T + shift - points
    error = float(np.sqrt(np.square(missed[:, :2]).sum(1).mean()) / scale)
    return Pose(scale, rotation, shift, error)
