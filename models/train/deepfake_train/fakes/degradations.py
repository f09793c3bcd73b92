"""What happens to a picture on its way to the detector; drawn without a look at the class."""

from __future__ import annotations

import cv2
import numpy as np

from .geometry import OUTLINE, Floats, Picture, Points
from .pixels import ENLARGING, choose, grain, jitter_colours, jpeg, resample, sharpen, to_bytes

# how deepfakedetect cuts faces out: see CROP of convert_fwa
CROP_SCALE, CROP_SHIFT = 1.51, (0.0, -0.046)
CROP_SIZE = 224
MILD = 0.35
"""Strength of what footage usually went through."""


def crop(rng: np.random.Generator | None, picture: Picture, points: Points, size: int = CROP_SIZE) -> Picture:
    """The detector's square about the points, [size, size, 3] BGR; with a generator varied a little."""
    outline = points[list(OUTLINE), :2]
    low, high = outline.min(0), outline.max(0)
    longest = float((high - low).max())
    x, y = (low + high) / 2 + np.asarray(CROP_SHIFT) * longest
    scale, angle = CROP_SCALE * longest / size, 0.0
    if rng is not None:
        scale *= rng.uniform(0.9, 1.12)
        x, y = (x, y) + rng.normal(0, 0.035, 2) * longest
        angle = np.radians(rng.normal(0, 4)) if rng.random() < 0.4 else 0.0
    cosine, sine = np.cos(angle) * scale, np.sin(angle) * scale
    middle = (size - 1) / 2
    back = np.array(
        [[cosine, -sine, x - middle * (cosine - sine)], [sine, cosine, y - middle * (sine + cosine)]]
    )
    if scale > 1.15:  # stands in for an area filter
        picture = cv2.GaussianBlur(picture, (0, 0), 0.35 * scale).astype(np.uint8)
    flags = cv2.WARP_INVERSE_MAP | (
        cv2.INTER_CUBIC if rng is not None and rng.random() < 0.2 else cv2.INTER_LINEAR
    )
    return cv2.warpAffine(
        picture, back.astype(np.float32), (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    ).astype(np.uint8)


def degrade(rng: np.random.Generator, picture: Picture, strength: float) -> Picture:
    """A crop [H, W, 3] BGR, mirrored or not, through colours, resizing, blur, noise and compression.

    ``strength`` 0..1 is how likely each of them is: `MILD` for usual footage, 1 for bad one.
    """
    if rng.random() < 0.5:
        picture = np.ascontiguousarray(picture[:, ::-1])
    if rng.random() < 0.08 * strength:
        picture = _black_edge(rng, picture)
    if rng.random() < 0.06 * strength:
        picture = cv2.bilateralFilter(picture, 5, rng.uniform(8, 30), 3).astype(np.uint8)
    if rng.random() < 0.5 * strength:
        picture = to_bytes(jitter_colours(rng, picture.astype(np.float32), rng.uniform(0.5, 2.2)))
    if rng.random() < 0.06 * strength:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8)
    if rng.random() < 0.45 * strength:
        scale = rng.uniform(0.35, 1.0) if rng.random() < 0.85 else rng.uniform(1.1, 1.6)
        picture = resample(rng, picture, scale).astype(np.uint8)
    picture = _blur_or_sharpen(rng, picture, strength)
    if rng.random() < 0.3 * strength:
        height, width = picture.shape[:2]
        size = rng.uniform(0.4, 0.9) if rng.random() < 0.5 else 0.0
        noise = grain(rng, height, width, abs(rng.normal(0, 5)) + 0.5, size)
        picture = to_bytes(picture + noise)
    kind = rng.random()
    if kind < 0.45 * strength:
        picture = jpeg(picture, rng.uniform(35, 98))
    elif kind < 0.75 * strength:
        picture = video_codec(rng, picture)
    if rng.random() < 0.1 * strength:
        picture = jpeg(picture, rng.uniform(60, 98))
    return picture


def _blur_or_sharpen(rng: np.random.Generator, picture: Picture, strength: float) -> Picture:
    kind = rng.random()
    if kind < 0.12 * strength:
        return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.3)).astype(np.uint8)
    if kind < 0.18 * strength:
        return cv2.filter2D(picture, -1, _motion_kernel(rng)).astype(np.uint8)
    if kind < 0.36 * strength:
        return to_bytes(sharpen(picture.astype(np.float32), rng.uniform(0.7, 1.8), rng.uniform(0.2, 1.3)))
    return picture


def _black_edge(rng: np.random.Generator, picture: Picture) -> Picture:
    """A bar on one side: letterbox, or a face at the edge of the frame."""
    side = int(rng.integers(4))
    turned = np.rot90(picture, side).copy()
    turned[-int(len(turned) * rng.uniform(0.03, 0.2)) :] = rng.integers(0, 18)
    return np.ascontiguousarray(np.rot90(turned, -side))


def _motion_kernel(rng: np.random.Generator) -> Floats:
    length, angle = int(rng.integers(3, 8)), rng.uniform(0, np.pi)
    middle = (length - 1) / 2
    kernel = np.zeros((length, length), np.float32)
    reach = np.array((np.cos(angle), np.sin(angle))) * middle
    start, end = (tuple(int(v) for v in np.round(middle + sign * reach)) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return kernel / kernel.sum()


def video_codec(rng: np.random.Generator, picture: Picture) -> Picture:
    """Stands in for a video encoder, which is too slow here: a coarse transform on blocks of 8 or 4 pixels
    that lie anywhere, then a filter over their edges."""
    height, width = picture.shape[:2]
    quality, shift = rng.uniform(15, 60), int(rng.integers(8))
    shifted = cv2.copyMakeBorder(picture, shift, 0, shift, 0, cv2.BORDER_REFLECT)
    if rng.random() < 0.5:
        large = cv2.resize(shifted, None, fx=2, fy=2, interpolation=choose(rng, ENLARGING[:2]))
        coded = cv2.resize(
            jpeg(large, quality), (width + shift, height + shift), interpolation=cv2.INTER_AREA
        )
    else:
        coded = jpeg(shifted, quality)
    coded = np.ascontiguousarray(coded[shift:, shift:])
    if rng.random() < 0.7:
        coded = cv2.bilateralFilter(coded, 5, rng.uniform(6, 25), 2)
    return coded.astype(np.uint8)
