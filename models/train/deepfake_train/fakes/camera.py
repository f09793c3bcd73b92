"""What light, lens and camera do to a picture before anybody manipulates it; both classes get it alike.

Pictures made by a generator are sharp and textured all over the face, so that a classifier that knows no
others takes the smooth skin of a real photo beside its sharp hair and background for a pasted face. Cameras
make such pictures every day: their denoiser smears what has little contrast and keeps what has much, their
sharpening adds bright seams, the lens blurs what is out of focus, light is coloured and stops at an edge, and
what is to please is finished with evened brightness and strong colours.
"""

from __future__ import annotations

import cv2
import numpy as np

from .geometry import OUTLINE, Floats, Picture, Points, face_width, pixel_grid, smooth_field, wobble
from .pixels import ENLARGING, SHRINKING, blend, choose, grain, jpeg, resample, sharpen, to_bytes
from .self_blended import treat

_BAYER = (
    cv2.COLOR_BayerBG2BGR,
    cv2.COLOR_BayerGB2BGR,
    cv2.COLOR_BayerRG2BGR,
    cv2.COLOR_BayerGR2BGR,
)


def shoot(rng: np.random.Generator, picture: Picture, points: Points) -> Picture:
    """Light, lens, camera and first file of a picture [H, W, 3] BGR; the points stay where they are."""
    whole = picture.astype(np.float32)
    if rng.random() < 0.35:
        whole = light(rng, whole, points)
    if rng.random() < 0.35:
        whole = focus(rng, whole, points)
    kind = rng.random()
    if kind < 0.45:
        whole = develop(rng, whole)
    elif kind < 0.7:
        whole = smooth_skin(rng, whole)
    elif kind < 0.78:
        whole = treat(rng, whole)
    elif kind < 0.82:
        whole = wobble(rng, whole, 5, picture.shape[1] * rng.uniform(0.002, 0.012))
    if rng.random() < 0.35:
        whole = finish(rng, whole)
    result = to_bytes(whole)
    if rng.random() < 0.25:  # a small picture, enlarged
        result = resample(rng, result, rng.uniform(0.4, 0.9)).astype(np.uint8)
    if rng.random() < 0.5:
        result = jpeg(result, rng.uniform(55, 97))
    return result


def light(rng: np.random.Generator, picture: Floats, points: Points) -> Floats:
    """Light that differs over the picture: smoothly, from behind, or in coloured patches with edges."""
    height, width = picture.shape[:2]
    kind = rng.random()
    if kind < 0.4:
        gain = 1 + smooth_field(rng, height, width, 3, 0.18)
        return np.clip(picture * np.clip(gain, 0.4, 1.7)[..., None], 0, 255).astype(np.float32)
    if kind < 0.7:  # from behind: the head is darker than what is around it
        head = _ellipse(rng, points, height, width, rng.uniform(0.7, 1.0), 0.03)
        inside, outside = rng.uniform(0.45, 0.9), rng.uniform(1.0, 1.5)
        return np.clip(picture * (outside + (inside - outside) * head)[..., None], 0, 255)
    # a coloured lamp or a shadow: one side of a wavy line
    x, y = pixel_grid(height, width)
    angle = rng.uniform(0, 2 * np.pi)
    middle = points[list(OUTLINE), :2].mean(0) + rng.normal(0, 0.3 * face_width(points), 2)
    across = (x - middle[0]) * np.cos(angle) + (y - middle[1]) * np.sin(angle)
    across = across + smooth_field(rng, height, width, 5, 0.1 * face_width(points))
    lit = np.clip(0.5 + across / (face_width(points) * rng.uniform(0.03, 0.5)), 0, 1)
    colour = rng.uniform(0.4, 1.0) * (1 + rng.normal(0, 0.25, 3))
    return np.clip(blend(picture, picture * colour.astype(np.float32), lit), 0, 255).astype(np.float32)


def focus(rng: np.random.Generator, picture: Floats, points: Points) -> Floats:
    """A lens that is in focus on the head alone, or on one side of the picture, or behind the head."""
    height, width = picture.shape[:2]
    kind = rng.random()
    if kind < 0.55:
        sharp = _ellipse(rng, points, height, width, rng.uniform(0.65, 1.0), 0.04)
        return blend(_blur(picture, rng.uniform(0.8, 4)), picture, sharp)
    if kind < 0.8:
        x, y = pixel_grid(height, width)
        angle, steep = rng.uniform(0, 2 * np.pi), rng.uniform(0.5, 1.5)
        along = (x / width - 0.5) * np.cos(angle) + (y / height - 0.5) * np.sin(angle)
        sharp = np.clip(0.5 + steep * along, 0, 1).astype(np.float32)
        return blend(_blur(picture, rng.uniform(0.8, 2.5)), picture, sharp)
    # on the hair or the shoulders: the middle of the head a little soft, with a wide passage
    soft = _ellipse(rng, points, height, width, rng.uniform(0.75, 1.1), 0.12)
    return blend(picture, _blur(picture, rng.uniform(0.6, 1.6)), soft)


def develop(rng: np.random.Generator, picture: Floats) -> Floats:
    """Sensor, demosaicing, denoising and sharpening of a camera, at the size at which it saw the face."""
    height, width = picture.shape[:2]
    scale = rng.uniform(0.5, 1.0)
    size = (2 * max(8, round(width * scale / 2)), 2 * max(8, round(height * scale / 2)))
    seen = cv2.resize(picture, size, interpolation=choose(rng, SHRINKING)).astype(np.float32)
    shot, read = (
        rng.uniform(0.1, 0.9),
        rng.uniform(0.5, 4),
    )  # of light, which grows with it, and of reading out
    noise = np.sqrt(shot * seen + read**2) * rng.standard_normal(seen.shape, dtype=np.float32)
    if rng.random() < 0.7:
        mosaic = _mosaic(to_bytes(seen + noise))
        seen = cv2.cvtColor(mosaic, choose(rng, _BAYER[:1])).astype(np.float32)
    else:
        seen = np.clip(seen + noise, 0, 255)
    if rng.random() < 0.85:
        seen = denoise(rng, seen)
    if rng.random() < 0.75:
        seen = sharpen(seen, rng.uniform(0.5, 2.0), rng.uniform(0.2, 1.8))
    if rng.random() < 0.3:  # what is left of the noise, or is added so as to look natural
        seen = seen + grain(rng, size[1], size[0], rng.uniform(0.5, 4), rng.uniform(0.3, 0.8))
    seen = np.clip(seen, 0, 255).astype(np.float32)
    return cv2.resize(seen, (width, height), interpolation=choose(rng, ENLARGING)).astype(np.float32)


def denoise(rng: np.random.Generator, picture: Floats) -> Floats:
    """Smears what has little contrast, keeps what has much; of the colours more than of the brightness."""
    luma, red, blue = cv2.split(cv2.cvtColor(to_bytes(picture), cv2.COLOR_BGR2YCrCb))
    strength = rng.uniform(8, 45)
    if rng.random() < 0.5:  # in poor light: skin like wax, and features as if painted, beside crisp hair
        luma = cv2.bilateralFilter(luma, 9, 1.5 * strength, rng.uniform(2.5, 6))
    else:
        luma = cv2.bilateralFilter(luma, 5, strength, rng.uniform(1.5, 3))
    radius = rng.uniform(0.7, 2.5)
    colours = [cv2.GaussianBlur(channel, (0, 0), radius) for channel in (red, blue)]
    return cv2.cvtColor(cv2.merge([luma, *colours]), cv2.COLOR_YCrCb2BGR).astype(np.float32)


def smooth_skin(rng: np.random.Generator, picture: Floats) -> Floats:
    """Make-up, or the beauty mode of a phone: what has the colours of skin gets smooth, wherever it is."""
    coded = cv2.cvtColor(to_bytes(picture), cv2.COLOR_BGR2YCrCb)
    skin = cv2.inRange(coded, (40, 130, 70), (255, 180, 135)).astype(np.float32) / 255
    skin = cv2.GaussianBlur(skin, (0, 0), rng.uniform(2, 6)).astype(np.float32)
    smooth = cv2.bilateralFilter(to_bytes(picture), 7, rng.uniform(20, 60), rng.uniform(2, 4))
    return blend(picture, smooth.astype(np.float32), skin * np.float32(rng.uniform(0.5, 1.0)))


def finish(rng: np.random.Generator, picture: Floats) -> Floats:
    """What phones and people do for effect: brightness evened out place by place, which draws bright seams
    about dark hair and lifts what lies in shadow; local contrast; strong colours."""
    luma, red, blue = cv2.split(cv2.cvtColor(to_bytes(picture), cv2.COLOR_BGR2YCrCb))
    if rng.random() < 0.7:
        tiles = int(rng.integers(2, 9))
        evened = cv2.createCLAHE(rng.uniform(1.0, 4.0), (tiles, tiles)).apply(luma)
        share = rng.uniform(0.3, 1.0)
        luma = cv2.addWeighted(luma, 1 - share, evened, share, 0)
    if rng.random() < 0.6:
        wide = cv2.GaussianBlur(luma, (0, 0), rng.uniform(0.01, 0.05) * picture.shape[1])
        amount = rng.uniform(0.2, 0.8)
        luma = cv2.addWeighted(luma, 1 + amount, wide, -amount, 0)
    result = cv2.cvtColor(cv2.merge([luma, red, blue]), cv2.COLOR_YCrCb2BGR).astype(np.float32)
    if rng.random() < 0.6:
        grey = result.mean(2, keepdims=True)
        result = np.clip(grey + (result - grey) * np.float32(rng.uniform(0.7, 1.8)), 0, 255)
    return result.astype(np.float32)


def _mosaic(picture: Picture) -> Picture:
    """[H, W]: red, green and blue pixels in the pattern of ``COLOR_BayerBG2BGR``; sides must be even."""
    mosaic = picture[..., 1].copy()
    mosaic[0::2, 0::2] = picture[0::2, 0::2, 2]
    mosaic[1::2, 1::2] = picture[1::2, 1::2, 0]
    return mosaic


def _blur(picture: Floats, radius: float) -> Floats:
    return cv2.GaussianBlur(picture, (0, 0), radius).astype(np.float32)


def _ellipse(
    rng: np.random.Generator, points: Points, height: int, width: int, size: float, edge: float
) -> Floats:
    """[height, width]: 1 on the head, fading over about ``edge`` of the picture and up to twice that."""
    outline = points[list(OUTLINE), :2]
    middle, axes = outline.mean(0), np.ptp(outline, axis=0) * size
    mask = np.zeros((height, width), np.float32)
    top = middle[1] - 0.08 * axes[1]
    cv2.ellipse(mask, (int(middle[0]), int(top)), (int(axes[0]), int(axes[1])), 0, 0, 360, 1.0, -1)
    return cv2.GaussianBlur(mask, (0, 0), width * edge * rng.uniform(0.7, 2)).astype(np.float32)
