"""A portrait of nobody: the average of several aligned portraits, and of their mirror images.

Every picture is warped so that its face takes the mean shape (thin-plate spline through the FaceMesh points),
its colours are matched to the group, and the person is cut out, so that the average has sharp features before
a plain background. The mirror images make the result face straight ahead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from .faces import LEFT_EYE_OUTER, RIGHT_EYE_OUTER, FaceFinder, Picture, Points
from .picture_file import read_picture
from .thin_plate import thin_plate_map

Floats = NDArray[np.float64]
Real = TypeVar("Real", np.float32, np.float64)


@dataclass(frozen=True)
class Layout:
    """Size of the result, share of it that the face takes, where its middle lies, and plain colours (RGB)."""

    size: int = 512
    face: float = 0.46
    middle: tuple[float, float] = (0.5, 0.47)
    background: tuple[float, float, float] = (188.0, 184.0, 178.0)
    clothes: tuple[float, float, float] = (66.0, 74.0, 86.0)


def similarity(points: Points, to: NDArray[Real]) -> tuple[NDArray[Real], NDArray[Real]]:
    """(matrix, offset) of the least-squares turn, scale and shift of ``points`` onto ``to``."""
    a, b = points - points.mean(0), to - to.mean(0)
    cosine, sine = (a * b).sum(), (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()
    matrix = np.array([[cosine, -sine], [sine, cosine]]) / (a**2).sum()
    return matrix, to.mean(0) - matrix @ points.mean(0)


def mean_shape(shapes: Sequence[Points], layout: Layout) -> Floats:
    """The mean of the shapes once turn, scale and place are taken out, placed as the layout says."""
    mean = shapes[0].astype(np.float64)
    for _ in range(5):
        aligned = []
        for shape in shapes:
            matrix, offset = similarity(shape, mean)
            aligned.append(shape @ matrix.T + offset)
        mean = np.mean(aligned, axis=0)
        mean -= (mean.min(0) + mean.max(0)) / 2
        mean *= layout.face * layout.size / np.ptp(mean, axis=0).max()
    across = mean[RIGHT_EYE_OUTER] - mean[LEFT_EYE_OUTER]
    cosine, sine = across / np.linalg.norm(across)
    level = mean @ np.array([[cosine, -sine], [sine, cosine]])
    return level + np.asarray(layout.middle) * layout.size


def person_mask(picture: Picture, points: Points) -> NDArray[np.float64]:
    """Soft mask of the person, by graph cuts started from the face and from the upper corners."""
    height, width = picture.shape[:2]
    low, high = points.min(0), points.max(0)
    (x, y), side = (low + high) / 2, float((high - low).max())
    mask = np.full((height, width), cv2.GC_PR_BGD, np.uint8)
    axes = (int(0.75 * side), int(0.95 * side))
    cv2.ellipse(mask, (int(x), int(y)), axes, 0, 0, 360, cv2.GC_PR_FGD, -1)
    top = min(height, int(high[1] + 0.25 * side))
    cv2.rectangle(mask, (int(x - 1.1 * side), top), (int(x + 1.1 * side), height), cv2.GC_PR_FGD, -1)
    cv2.fillConvexPoly(mask, cv2.convexHull(points).astype(np.int32), cv2.GC_FGD)
    mask[: max(2, int(low[1] - 0.55 * side))] = cv2.GC_BGD
    mask[: int(high[1]), : max(2, int(x - 1.25 * side))] = cv2.GC_BGD
    mask[: int(high[1]), min(width - 2, int(x + 1.25 * side)) :] = cv2.GC_BGD
    cv2.grabCut(picture, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    person = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    person = cv2.morphologyEx(cv2.morphologyEx(person, cv2.MORPH_OPEN, kernel), cv2.MORPH_CLOSE, kernel)
    return cv2.GaussianBlur(person.astype(np.float64), (0, 0), 1.5)


def match_colours(picture: Floats, face: NDArray[np.bool_], mean: Floats, deviation: Floats) -> Floats:
    """Shifts and scales each Lab channel so that the face has the given mean and deviation."""
    inside = picture[face]
    gain = np.clip(deviation / inside.std(0), 0.7, 1.4)
    return (picture - inside.mean(0)) * gain + mean


def average_portrait(paths: Sequence[Path], finder: FaceFinder, layout: Layout) -> Picture:
    """The average of the portraits and their mirror images."""
    pictures: list[Picture] = []
    for path in paths:
        picture = read_picture(path)
        pictures += [picture, np.ascontiguousarray(picture[:, ::-1])]
    shapes = []
    for index, picture in enumerate(pictures):
        points = finder.points(picture)
        if points is None:
            raise ValueError(f"{paths[index // 2]}: no face found")
        shapes.append(points)
    target = mean_shape(shapes, layout)
    hull = np.zeros((layout.size, layout.size), np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(target.astype(np.float32)).astype(np.int32), 1)
    face = hull.astype(bool)

    warped, masks = [], []
    for picture, shape in zip(pictures, shapes, strict=True):
        where = _place_map(shape, target, layout.size)
        x, y = where[..., 0], where[..., 1]
        lab = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_BGR2LAB)
        warped.append(
            cv2.remap(lab, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)
        )
        mask = person_mask(picture, shape)
        masks.append(cv2.remap(mask, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    mean = np.mean([picture[face].mean(0) for picture in warped], axis=0)
    deviation = np.mean([picture[face].std(0) for picture in warped], axis=0)
    matched = [match_colours(picture, face, mean, deviation) for picture in warped]

    weights = np.clip(np.asarray(masks), 0, 1)[..., None]
    total = weights.sum(0)
    person = (np.asarray(matched) * weights).sum(0) / np.maximum(total, 1e-3)
    share = cv2.GaussianBlur(total[..., 0] / len(matched), (0, 0), 2.5)[..., None]
    # where few pictures show a part of a person there is nobody, and the edge is made crisp again
    alpha = np.clip((share - 0.42) / 0.16, 0, 1)
    colour = cv2.cvtColor(person.astype(np.float32), cv2.COLOR_LAB2BGR).astype(np.float64) * 255
    colour += 0.6 * (colour - cv2.GaussianBlur(colour, (0, 0), 1.6))  # averaging took some of the detail
    colour = _dress(colour, float(target[:, 1].max()), layout)
    result = alpha * colour + (1 - alpha) * _background(layout)
    return np.clip(result + 0.5, 0, 255).astype(np.uint8)


def _place_map(shape: Points, target: Floats, size: int) -> NDArray[np.float32]:
    """Where each pixel of the result lies in a picture; far from the face the warp is a plain similarity."""
    matrix, offset = similarity(target.astype(np.float32), shape.astype(np.float64))
    line = np.linspace(-0.1, 1.1, 9) * size
    grid = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    middle = (target.min(0) + target.max(0)) / 2
    far = np.linalg.norm(grid - middle, axis=1) > 0.9 * np.ptp(target, axis=0).max()
    anchors = grid[far]
    at = np.concatenate((target, anchors))
    to = np.concatenate((shape.astype(np.float64), anchors @ matrix.T + offset))
    return thin_plate_map(at, to, size, stiffness=1e-5)


def _dress(colour: Floats, chin: float, layout: Layout) -> Floats:
    """A plain pullover in place of clothes and hair ends, which do not match from picture to picture."""
    size = layout.size
    y, x = np.mgrid[0:size, 0:size].astype(np.float64)
    aside = np.abs(x / size - layout.middle[0])
    rise = np.clip((aside - 0.10) / 0.26, 0, 1)
    neckline = chin + size * (0.165 - 0.085 * rise**2 * (3 - 2 * rise))
    share = np.clip((y - neckline) / 3 + 0.5, 0, 1)[..., None]
    folds = cv2.GaussianBlur(colour, (0, 0), 0.03 * size).mean(-1, keepdims=True)
    shade = (0.82 + 0.18 * folds / folds.mean()) * (1 - 0.9 * aside[..., None] ** 2)
    hem = np.exp(-(((y - neckline - 0.022 * size) / (0.004 * size)) ** 2))[..., None]
    cloth = np.asarray(layout.clothes)[::-1] * shade * (1 - 0.12 * hem)
    return colour + share * (cloth - colour)


def _background(layout: Layout) -> Floats:
    """Plain, a little darker towards the corners."""
    y, x = np.mgrid[0 : layout.size, 0 : layout.size] / layout.size - 0.5
    shade = 1 - 0.35 * (x**2 + (y + 0.1) ** 2)
    return np.asarray(layout.background)[::-1] * shade[..., None]


def write_portrait(paths: Sequence[Path], zoo: Path, out: Path) -> None:
    """Writes the average as a JPEG."""
    out.parent.mkdir(parents=True, exist_ok=True)
    picture = average_portrait(paths, FaceFinder(zoo), Layout())
    if not cv2.imwrite(str(out), picture, [cv2.IMWRITE_JPEG_QUALITY, 93]):
        raise OSError(f"cannot write {out}")
