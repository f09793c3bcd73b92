"""Faces in pictures, with the detector and the landmarks of the zoo: a small double of what the Rust tracker
does.

Pictures are BGR bytes as OpenCV reads them, points are in pixels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .manifest import read
from .measure import session

Picture = NDArray[np.uint8]
Points = NDArray[np.float32]

LEFT_EYE_OUTER, RIGHT_EYE_OUTER = 33, 263
REFINEMENTS = 2
MOST_OVERLAP = 0.3
"""Boxes of which more than this is common are of the same face."""


class Box(NamedTuple):
    """A detected face: its middle, its longer side and its confidence."""

    x: float
    y: float
    side: float
    score: float


class Mesh(NamedTuple):
    """Landmarks of a face, 468 x 3 (depth too is in pixels), and how surely there is one, 0..1."""

    points: Points
    presence: float


def square(
    picture: Picture, x: float, y: float, side: float, size: int, angle: float = 0.0
) -> tuple[Picture, Points]:
    """A turned square out of a picture, ``size`` pixels wide, and the matrix from it back to the picture."""
    scale = side / size
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    half = (size - 1) / 2
    back = np.array([[cos, -sin, x - half * (cos - sin)], [sin, cos, y - half * (sin + cos)]], np.float32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if scale > 1:  # a slight blur stands in for an area filter
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 * scale).astype(np.uint8)
    patch = cv2.warpAffine(picture, back, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    return patch.astype(np.uint8), back


def face_square(low: Points, high: Points, rule: dict[str, Any]) -> tuple[float, float, float]:
    """Middle and side, for `square`, of what the section ``crop`` of a manifest wants about a face whose
    points lie between two corners."""
    longest = float((high - low).max())
    x, y = (low + high) / 2 + np.asarray(rule["shift"]) * longest
    return float(x), float(y), rule["scale"] * longest


class FaceFinder:
    """BlazeFace, then FaceMesh on a crop that is refined by its own points."""

    def __init__(self, zoo: Path, detector: str = "blazeface-short", threads: int = 1) -> None:
        self._detector_manifest = read(zoo / detector)
        self._mesh_manifest = read(zoo / "facemesh")
        self._detector = session(zoo / detector / self._detector_manifest["file"][0]["path"], threads)
        self._mesh = session(zoo / "facemesh" / self._mesh_manifest["file"][0]["path"], threads)
        self._anchors = _anchors(self._detector_manifest)

    def box(self, picture: Picture) -> Box | None:
        """The best face, or none."""
        boxes = self.boxes(picture)
        return boxes[0] if boxes else None

    def boxes(self, picture: Picture) -> list[Box]:
        """All faces, the most certain first; of boxes that overlap only the best is kept."""
        height, width = picture.shape[:2]
        size, reach = self._detector_manifest["input"]["width"], float(max(height, width))
        patch, _ = square(picture, (width - 1) / 2, (height - 1) / 2, reach, size)
        about = self._detector_manifest["detector"]
        boxes, logits = self._detector.run(
            [about["boxes"], about["scores"]],
            {self._detector.get_inputs()[0].name: _tensor(patch, self._detector_manifest)},
        )
        scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1).astype(np.float64), -80, 80)))
        kept: list[Box] = []
        for index in np.argsort(-scores, kind="stable"):
            if scores[index] < about["score_threshold"]:
                break
            x, y, wide, high = boxes[0, index, :4] / size
            middle = self._anchors[index] + (x, y) - 0.5
            box = Box(
                float(middle[0] * reach + width / 2),
                float(middle[1] * reach + height / 2),
                float(max(wide, high) * reach),
                float(scores[index]),
            )
            if all(_overlap(box, other) < MOST_OVERLAP for other in kept):
                kept.append(box)
        return kept

    def points(self, picture: Picture) -> Points | None:
        """468 x 2 points of the best face, or none."""
        box = self.box(picture)
        return None if box is None else self.mesh(picture, box).points[:, :2]

    def mesh(self, picture: Picture, box: Box) -> Mesh:
        """The landmarks of the face in a box."""
        x, y, side, angle = box.x, box.y, box.side, 0.0
        factor = self._mesh_manifest["landmarks"]["crop_scale"]
        mesh = Mesh(np.empty((0, 3), np.float32), 0.0)
        for _ in range(1 + REFINEMENTS):
            mesh = self._mesh_points(picture, x, y, factor * side, angle)
            points = mesh.points[:, :2]
            low, high = points.min(0), points.max(0)
            (x, y), side = (low + high) / 2, float((high - low).max())
            across = points[RIGHT_EYE_OUTER] - points[LEFT_EYE_OUTER]
            angle = math.atan2(across[1], across[0])
        return mesh

    def _mesh_points(self, picture: Picture, x: float, y: float, side: float, angle: float) -> Mesh:
        size, about = self._mesh_manifest["input"]["width"], self._mesh_manifest["landmarks"]
        patch, back = square(picture, x, y, side, size, angle)
        output, presence = self._mesh.run(
            [about["output"], about["presence"]],
            {self._mesh.get_inputs()[0].name: _tensor(patch, self._mesh_manifest)},
        )
        local = output.reshape(-1, 3)
        flat = local[:, :2] @ back[:, :2].T + back[:, 2]
        depth = local[:, 2:] * (side / size)
        return Mesh(
            np.hstack((flat, depth)).astype(np.float32), 1 / (1 + math.exp(-float(presence.reshape(-1)[0])))
        )


def _overlap(a: Box, b: Box) -> float:
    """Intersection over union of the two squares."""
    wide, high = (
        max(0.0, min(p + a.side / 2, q + b.side / 2) - max(p - a.side / 2, q - b.side / 2))
        for p, q in ((a.x, b.x), (a.y, b.y))
    )
    return wide * high / (a.side**2 + b.side**2 - wide * high)


def _tensor(patch: Picture, manifest: dict[str, Any]) -> NDArray[np.float32]:
    about = manifest["input"]
    values = patch[..., ::-1].astype(np.float32) / 255
    values = (values - np.asarray(about["mean"], np.float32)) / np.asarray(about["std"], np.float32)
    return values[None].astype(np.float32)


def _anchors(manifest: dict[str, Any]) -> NDArray[np.float64]:
    """Middles of the anchors in [0, 1], in the order of the outputs."""
    size, rows = manifest["input"]["width"], []
    for stride, count in manifest["detector"]["strides"]:
        cells = math.ceil(size / stride)
        y, x = np.mgrid[0:cells, 0:cells]
        middles = (np.stack((x, y), -1).reshape(-1, 2) + 0.5) / cells
        rows.append(np.repeat(middles, count, axis=0))
    return np.concatenate(rows)
