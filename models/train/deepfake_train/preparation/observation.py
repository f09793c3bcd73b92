"""What is to be seen in each frame of a video: one usable face, or why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..faces import Box, FaceFinder, Picture, Points
from ..video import frames

NO_FACE = "no face"
SMALL = "face too small"
OCCLUDED = "face covered or turned away"
SEVERAL = "several faces"
CUT_OFF = "face cut off by the frame"
UNREADABLE = "not readable"

LEAST_PRESENCE = 0.5
"""Below it FaceMesh sees no face at all, 0..1."""
THUMBNAIL = (32, 18)
LEAST_CUT = 0.08
"""Mean difference of thumbnails in 0..1 below which nothing is a cut."""
CUT_FACTOR = 4.0
"""How many times the usual difference of the last frames a cut makes."""
REMEMBERED = 12


@dataclass(frozen=True)
class Limits:
    """What a face has to be like; lengths in pixels of the video."""

    smallest: float = 80.0
    """Longer side of the box about the landmarks."""
    presence: float = 0.8
    """How sure FaceMesh has to be, 0..1: hands and profiles lower it."""
    rival: float = 0.6
    """A second face of at least that part of the first one's size makes the frame ambiguous."""


class Observation(NamedTuple):
    """A frame. ``points`` [468, 2] in the video's pixels, or the reason why there are none.

    ``cut``: another scene begins with it.
    """

    number: int
    points: Points | None
    reason: str
    cut: bool


class CutFinder:
    """Tells scene cuts by small thumbnails: a difference far above that of the frames before."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._usual: list[float] = []

    def __call__(self, picture: Picture) -> bool:
        small = cv2.resize(picture, THUMBNAIL, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        last, self._last = self._last, small
        if last is None:
            return False
        difference = float(np.abs(small - last).mean())
        usual = float(np.median(self._usual)) if self._usual else 0.0
        cut = difference > max(LEAST_CUT, CUT_FACTOR * usual)
        self._usual = [] if cut else [*self._usual[1 - REMEMBERED :], difference]
        return cut


def observe(video: Path, finder: FaceFinder, limits: Limits) -> Iterator[Observation]:
    """All frames in their order.

    Where the detector sees nothing, the place of the last face is tried, as it misses single frames.
    """
    cuts, last = CutFinder(), None
    for index, picture in frames(video):
        cut = cuts(picture)
        boxes = finder.boxes(picture)
        if not boxes and last is not None and not cut:
            boxes = [_box_about(last)]
        points, reason = _face(picture, boxes, finder, limits)
        last = points
        yield Observation(index, points, reason, cut)


def _face(
    picture: Picture, boxes: list[Box], finder: FaceFinder, limits: Limits
) -> tuple[Points | None, str]:
    if not boxes:
        return None, NO_FACE
    main, *others = sorted(boxes, key=lambda box: -box.side)
    points, presence = finder.mesh(picture, main)
    for other in others:
        # what the detector takes for a second face is now and then an ear or a collar
        if other.side >= limits.rival * main.side and finder.mesh(picture, other).presence >= LEAST_PRESENCE:
            return None, SEVERAL
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    # a drawing or a pattern that the detector takes for a face is none to FaceMesh either
    if presence < LEAST_PRESENCE:
        return None, OCCLUDED if main.score > 0.9 else NO_FACE
    if (high - low).max() < limits.smallest:
        return None, SMALL
    if presence < limits.presence:
        return None, OCCLUDED
    if low.min() < 0 or (high > picture.shape[1::-1]).any():
        return None, CUT_OFF
    return points[:, :2], ""


def _box_about(points: Points) -> Box:
    low, high = points.min(0), points.max(0)
    x, y = (low + high) / 2
    return Box(float(x), float(y), float((high - low).max()), 0.0)
