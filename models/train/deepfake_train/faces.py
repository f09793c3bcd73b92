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


class Box(NamedTuple):
    """A detected face: its middle, its longer side and its confidence."""

    x: float
    y: float
    side: float
    score: float


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
        height, width = picture.shape[:2]
        size, reach = self._detector_manifest["input"]["width"], float(max(height, width))
        patch, _ = square(picture, (width - 1) / 2, (height - 1) / 2, reach, size)
        about = self._detector_manifest["detector"]
        boxes, logits = self._detector.run(
            [about["boxes"], about["scores"]],
            {self._detector.get_inputs()[0].name: _tensor(patch, self._detector_manifest)},
        )
        best = int(logits.argmax())
        score = 1 / (1 + math.exp(-float(logits.reshape(-1)[best])))
        if score < about["score_threshold"]:
            return None
        x, y, wide, high = boxes[0, best, :4] / size
        middle = self._anchors[best] + (x, y) - 0.5
        return Box(
            float(middle[0] * reach + width / 2),
            float(middle[1] * reach + height / 2),
            float(max(wide, high) * reach),
            score,
        )

    def points(self, picture: Picture) -> Points | None:
        """468 x 2 points of the best face, or none."""
        box = self.box(picture)
        if box is None:
            return None
        x, y, side, angle = box.x, box.y, box.side, 0.0
        factor = self._mesh_manifest["landmarks"]["crop_scale"]
        points = np.empty((0, 2), np.float32)
        for _ in range(1 + REFINEMENTS):
            points = self._mesh_points(picture, x, y, factor * side, angle)
            low, high = points.min(0), points.max(0)
            (x, y), side = (low + high) / 2, float((high - low).max())
            across = points[RIGHT_EYE_OUTER] - points[LEFT_EYE_OUTER]
            angle = math.atan2(across[1], across[0])
        return points

    def _mesh_points(self, picture: Picture, x: float, y: float, side: float, angle: float) -> Points:
        size = self._mesh_manifest["input"]["width"]
        patch, back = square(picture, x, y, side, size, angle)
        name = self._mesh_manifest["landmarks"]["output"]
        (output,) = self._mesh.run(
            [name], {self._mesh.get_inputs()[0].name: _tensor(patch, self._mesh_manifest)}
        )
        local = output.reshape(-1, 3)[:, :2]
        return (local @ back[:, :2].T + back[:, 2]).astype(np.float32)


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
