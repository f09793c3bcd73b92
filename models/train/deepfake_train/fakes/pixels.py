"""What is done to pixels: colours, sharpness, grain, resampling, JPEG. Floats are BGR in 0..255."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from .geometry import Floats, Picture

Number = TypeVar("Number", bound=np.generic)

ENLARGING = (cv2.INTER_LINEAR, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
SHRINKING = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_AREA)


def to_bytes(picture: Floats) -> Picture:
    """Rounded and clipped."""
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def choose(rng: np.random.Generator, options: tuple[int, ...]) -> int:
    """One of them, each as likely."""
    return options[int(rng.integers(len(options)))]


def blend(below: Floats, above: Floats, mask: Floats) -> Floats:
    """``above`` where the mask [H, W] is 1."""
    return below + (above - below) * mask[..., None]


def jitter_colours(rng: np.random.Generator, picture: Floats, amount: float) -> Floats:
    """Gain and offset of each channel, contrast, brightness and saturation; an amount of 1 is mild."""
    gain = 1 + rng.normal(0, 0.04 * amount, 3)
    offset = rng.normal(0, 5 * amount, 3) + rng.normal(0, 6 * amount)
    contrast = 1 + rng.normal(0, 0.07 * amount)
    saturation = 1 + rng.normal(0, 0.12 * amount)
    mix = saturation * np.eye(3) + (1 - saturation) / 3
    matrix = mix * (gain * contrast)
    shift = mix @ offset + 128 * (1 - contrast)
    return cv2.transform(picture, np.column_stack((matrix, shift)).astype(np.float32)).astype(np.float32)


def sharpen(picture: Floats, radius: float, amount: float) -> Floats:
    """Unsharp mask with a radius in pixels."""
    blurred = cv2.GaussianBlur(picture, (0, 0), radius)
    return np.clip(picture + amount * (picture - blurred), 0, 255).astype(np.float32)


def resample(rng: np.random.Generator, picture: NDArray[Number], scale: float) -> NDArray[Number]:
    """Resized by that factor and back, with filters drawn by chance."""
    height, width = picture.shape[:2]
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    there, back = (SHRINKING, ENLARGING) if scale < 1 else (ENLARGING, SHRINKING)
    small = cv2.resize(picture, size, interpolation=choose(rng, there))
    return cv2.resize(small, (width, height), interpolation=choose(rng, back))


def grain(rng: np.random.Generator, height: int, width: int, deviation: float, size: float = 0.0) -> Floats:
    """[height, width, 3] of noise, in colour or not; ``size`` is its correlation in pixels."""
    channels = 1 if rng.random() < 0.5 else 3
    noise = rng.standard_normal((height, width, channels), dtype=np.float32) * np.float32(deviation)
    if size > 0:
        # brought back to its strength: blurring with this radius leaves about 0.28 / radius of it
        noise = cv2.GaussianBlur(noise, (0, 0), size).reshape(height, width, channels) * max(1.0, size / 0.28)
    return np.broadcast_to(noise, (height, width, 3))


def jpeg(picture: Picture, quality: float) -> Picture:
    """Encoded and decoded again, with colour at half the resolution, as cameras and websites do."""
    good, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    if not good:
        raise ValueError("OpenCV cannot encode JPEG")
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR).astype(np.uint8)
