"""Soft masks of the face, of the shapes that face swappers and animators paste."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from .geometry import BROWS, LIPS, OUTLINE, Floats, Points, face_width, wobble

Region = Literal["outline", "inner", "hull"]
REGIONS: tuple[Region, ...] = ("outline", "inner", "hull")
SHARES = (0.4, 0.35, 0.25)
_SUBPIXEL_BITS = 3


def face_mask(
    rng: np.random.Generator,
    points: Points,
    height: int,
    width: int,
    region: Region | None = None,
    *,
    hard: bool | None = None,
    deform: bool = True,
) -> Floats:
    """[height, width] in 0..1. Outline: the whole face; inner: brows to mouth; hull: of moved points.

    What is not said is drawn by chance. A hard edge is about a pixel wide, a soft one up to 9 % of the face.
    """
    if region is None:
        region = REGIONS[int(rng.choice(len(REGIONS), p=SHARES))]
    wide = face_width(points)
    corners = _polygon(rng, points, region, wide)
    mask = np.zeros((height, width), np.float32)
    scaled = np.round(corners * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [scaled], 1.0, cv2.LINE_8, _SUBPIXEL_BITS)
    if deform and rng.random() < 0.6:
        mask = wobble(rng, mask, 6, rng.uniform(0.01, 0.05) * wide)
    if hard is None:
        hard = rng.random() < 0.25
    edge = rng.uniform(0.4, 1.0) if hard else wide * rng.uniform(0.015, 0.09)
    if not hard and rng.random() < 0.5:
        # shrunk first, so that the fading stays on the face
        radius = max(1, int(edge))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        mask = cv2.erode(mask, kernel)
    return cv2.GaussianBlur(mask, (0, 0), edge).astype(np.float32)


def _polygon(rng: np.random.Generator, points: Points, region: Region, wide: float) -> Floats:
    outline = points[list(OUTLINE), :2]
    middle = outline.mean(0)
    if region == "outline":
        return middle + (outline - middle) * rng.uniform(0.86, 1.03)
    if region == "inner":
        inner = cv2.convexHull(points[[*BROWS, *LIPS], :2].astype(np.float32))[:, 0]
        return inner.mean(0) + (inner - inner.mean(0)) * rng.uniform(1.0, 1.22)
    chosen = points[[*OUTLINE, *BROWS, *LIPS], :2]
    moved = middle + (chosen - middle) * rng.uniform(0.8, 1.02) + rng.normal(0, 0.02 * wide, chosen.shape)
    return cv2.convexHull(moved.astype(np.float32))[:, 0]
