"""Face warping artifacts, after Li and Lyu, 2019: the face at another resolution than what surrounds it.

A swapper synthesises faces of one fixed size and warps them to fit. Here the face is aligned, shrunk,
blurred, enlarged and warped back, which leaves the same traces without any swapper.
"""

from __future__ import annotations

import cv2
import numpy as np

from .geometry import Floats, Picture, Points, alignment, face_width, five_points
from .masks import face_mask
from .pixels import ENLARGING, SHRINKING, blend, choose, jitter_colours, sharpen, to_bytes

# eyes, nose and mouth in the aligned face, in widths of it
TEMPLATE = np.array([[0.38, 0.43], [0.62, 0.43], [0.5, 0.57], [0.4, 0.69], [0.6, 0.69]], np.float32)
LEAST_SIDE, MOST_SIDE = 64, 320
SHRUNK_LEAST = 28


def make(rng: np.random.Generator, picture: Picture, points: Points) -> Picture:
    """The picture with its face through a low resolution; [H, W, 3] BGR."""
    height, width = picture.shape[:2]
    wide = face_width(points)
    whole = picture.astype(np.float32)
    side = int(np.clip(1.5 * wide, LEAST_SIDE, MOST_SIDE))
    found = five_points(points) + rng.normal(0, 0.01 * wide, (5, 2)).astype(np.float32)
    there = alignment(found, TEMPLATE * side)
    if rng.random() < 0.4:  # some swappers align by an affine map
        there[:, :2] += rng.normal(0, 0.015, (2, 2)) * np.abs(there[:, :2]).max()
    inward = (cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
    face = cv2.warpAffine(
        whole, there, (side, side), flags=choose(rng, inward), borderMode=cv2.BORDER_REFLECT_101
    )
    face = _through_low_resolution(rng, np.asarray(face, np.float32), side)
    back = cv2.warpAffine(
        face,
        there,
        (width, height),
        flags=cv2.WARP_INVERSE_MAP | choose(rng, inward),
        borderMode=cv2.BORDER_REFLECT_101,
    ).astype(np.float32)
    if rng.random() < 0.4:
        back = jitter_colours(rng, back, rng.uniform(0.2, 0.9))
    mask = face_mask(rng, points, height, width)
    opacity = 1.0 if rng.random() < 0.8 else rng.uniform(0.75, 0.95)
    return to_bytes(blend(whole, back, mask * np.float32(opacity)))


def _through_low_resolution(rng: np.random.Generator, face: Floats, side: int) -> Floats:
    small = max(SHRUNK_LEAST, int(side * np.exp(rng.uniform(np.log(0.26), np.log(0.8)))))
    low = cv2.resize(face, (small, small), interpolation=choose(rng, SHRINKING))
    low = _small_blur(rng, low.astype(np.float32))
    if rng.random() < 0.15:  # grain of the synthesis, enlarged with it
        low = low + rng.normal(0, rng.uniform(1, 4), (small, small, 1)).astype(np.float32)
    large = cv2.resize(np.clip(low, 0, 255), (side, side), interpolation=choose(rng, ENLARGING))
    large = large.astype(np.float32)
    if rng.random() < 0.12:  # sharpening does not bring back what the low resolution lost
        large = sharpen(large, 1.5, rng.uniform(0.3, 1.0))
    return large


def _small_blur(rng: np.random.Generator, face: Floats) -> Floats:
    kind = rng.random()
    if kind < 0.55:
        return cv2.GaussianBlur(face, (5, 5), 0).astype(np.float32)
    if kind < 0.75:
        return cv2.GaussianBlur(face, (3, 3), 0).astype(np.float32)
    if kind < 0.85:
        return cv2.blur(face, (3, 3)).astype(np.float32)
    if kind < 0.92:
        return cv2.medianBlur(to_bytes(face), 3).astype(np.float32)
    return face
