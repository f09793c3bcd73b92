"""The family that our own animator makes: portraits moved by other faces, as fomreenact shows them.

An animator takes too long for the way to a training step, so that pictures are prepared once. Each comes with
a twin that differs in nothing but the network: the same portrait through the same 256-pixel square, pasted
back into its picture or not. Without twins a classifier learns to know the resampling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ..animate import Animator, Motion, relative_motion
from ..faces import FaceFinder, face_square, square
from .collect import read_pictures
from .geometry import FACEMESH_POINTS, OUTLINE, USED, Floats, Picture, Points, face_width, with_depth
from .pack import Face
from .prepared import REAL, Packed
from .reposed import backward_map, turn

FAMILY = "reenacted"
FEATHER = 0.08
"""Width of the pasted square's edge, in sides of it: as scene.rs has it."""
SCENES = 0.3
"""Share that is pasted back into the portrait's picture; the others show the square alone."""
STILLS = 0.25
"""Share that is driven by a turned still instead of a video."""
MOST_TURN = 0.3
"""Radians by which stills are turned."""


class Driver(NamedTuple):
    """The motion in the frames of one video; any of them may be the one that a face is neutral in."""

    name: str
    motions: list[Motion]


def read_drivers(videos: Iterable[Path], finder: FaceFinder, animator: Animator, every: int) -> list[Driver]:
    """Every n-th frame in which there is a face, in the window of the first one."""
    drivers = []
    for video in videos:
        window, motions = None, []
        for _, frame in read_pictures(video, every):
            points = finder.points(frame)
            if points is not None:
                window = points if window is None else window
                motions.append(animator.motion(animator.crop(frame, window)))
        if len(motions) < 2:
            raise ValueError(f"{video}: fewer than two frames with a face")
        drivers.append(Driver(video.name, motions))
    return drivers


def prepare(
    portraits: Sequence[Face],
    drivers: Sequence[Driver],
    animator: Animator,
    finder: FaceFinder,
    seed: int,
    numbers: Iterable[int],
    split: str,
) -> Iterator[list[Packed]]:
    """For each number a twin and what the animator made of it, ready to pack; drawn from ``seed`` and number.

    Where no face is found in what it made, the two are left out.
    """
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        portrait = portraits[int(rng.integers(len(portraits)))]
        crop, back = _window(animator, portrait.picture, portrait.points)
        source = animator.motion(crop)
        driven, driver = _driven(rng, portraits, drivers, animator, source)
        result = animator.render(animator.encode(crop), source, driven)
        scene = rng.random() < SCENES
        made = paste(portrait.picture, result, back) if scene else result
        points = finder.points(made)
        if points is None:
            continue
        twin = paste(portrait.picture, crop, back) if scene else crop
        inward = cv2.invertAffineTransform(back)
        own = portrait.points if scene else portrait.points[:, :2] @ inward[:, :2].T + inward[:, 2]
        yield [
            (_face(twin, own, REAL), split, f"{split} {number}"),
            (_face(made, points, FAMILY), split, f"{split} {number} by {driver}"),
        ]


def paste(picture: Picture, crop: Picture, back: Floats) -> Picture:
    """``crop`` where it was cut out by the matrix ``back``, fading into the picture along its edge."""
    height, width = picture.shape[:2]
    side = crop.shape[0]
    line = np.arange(side, dtype=np.float32)
    ramp = np.clip((np.minimum(line, side - 1 - line) + 0.5) / (FEATHER * side), 0, 1)
    mask = np.minimum(ramp[:, None], ramp[None]).astype(np.float32)
    layer = np.dstack((crop.astype(np.float32), 255 * mask))
    placed = cv2.warpAffine(layer, back, (width, height), flags=cv2.INTER_LINEAR)
    opacity = placed[..., 3:] / 255
    # outside of the crop both are 0, so that colours are weighted by the mask once more at its very edge
    inside = cv2.warpAffine(crop.astype(np.float32), back, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(picture + (inside - picture) * opacity + 0.5, 0, 255).astype(np.uint8)


def _driven(
    rng: np.random.Generator,
    portraits: Sequence[Face],
    drivers: Sequence[Driver],
    animator: Animator,
    source: Motion,
) -> tuple[Motion, str]:
    if rng.random() < STILLS:
        still = portraits[int(rng.integers(len(portraits)))]
        reference = animator.motion(_window(animator, still.picture, still.points)[0])
        turned = animator.motion(_window(animator, _turned(rng, still), still.points)[0])
        return relative_motion(source, turned, reference), "a turned still"
    driver = drivers[int(rng.integers(len(drivers)))]
    first, second = rng.choice(len(driver.motions), 2, replace=False)
    return relative_motion(source, driver.motions[second], driver.motions[first]), driver.name


def _turned(rng: np.random.Generator, face: Face) -> Picture:
    before = with_depth(face.points)
    after = turn(rng, before, MOST_TURN, face_width(face.points))
    height, width = face.picture.shape[:2]
    back = backward_map(before[:, :2], after[:, :2], height, width)
    return cv2.remap(
        face.picture, back[..., 0], back[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    ).astype(np.uint8)


def _window(animator: Animator, picture: Picture, points: Points) -> tuple[Picture, Floats]:
    """The square that the animator wants of a portrait, and the matrix back to the picture."""
    outline = points[list(OUTLINE), :2]
    place = face_square(outline.min(0), outline.max(0), animator.crop_rule)
    return square(picture, *place, animator.size)


def _face(picture: Picture, points: Points, source: str) -> Face:
    kept = np.zeros((FACEMESH_POINTS, 3), np.float32)
    if points.shape[1] == 3:
        kept[list(USED)] = points[list(USED)]
    else:
        kept[list(USED)] = with_depth(points.astype(np.float32))
    low, high = kept[list(OUTLINE), :2].min(0), kept[list(OUTLINE), :2].max(0)
    return Face(picture, kept, np.array([*low, *(high - low)], np.float32), source)
