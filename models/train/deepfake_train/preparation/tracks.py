"""Runs of frames that one standing square can show, as VoxCeleb was cut.

A run ends where the face is lost, the scene changes, the face has left the place where it was at first or
moves more than the frame has room for, or it has become long enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..faces import Points
from .observation import UNREADABLE, Observation

TOO_SHORT = "run too short"
SCENE_CUT, MOVED, ROOM, LONG = "scene cut", "face moved away", "no room for more motion", "long enough"


@dataclass(frozen=True)
class Cutting:
    """Numbers of the reference's VoxCeleb preparation; the crop is that of the zoo's models."""

    shortest: int = 64
    longest: int = 1024
    overlap: float = 0.25
    """Least intersection over union with the face of the first frame."""
    scale: float = 1.7
    """Side of the square, in parts of the longer side of the face; see the manifest of fomm-lite."""
    shift: tuple[float, float] = (0.0, -0.06)
    margin: float = 0.1
    """Room about all places of the face, in parts of their common box."""


class Extent(NamedTuple):
    """The corners of the box about all places of a face."""

    low: Points
    high: Points

    @classmethod
    def of(cls, points: Points) -> Extent:
        """Of one place."""
        return cls(points.min(0), points.max(0))

    def with_face(self, points: Points) -> Extent:
        """And another one."""
        return Extent(np.minimum(self.low, points.min(0)), np.maximum(self.high, points.max(0)))

    def needed(self, cutting: Cutting) -> float:
        """Side of the smallest square that shows them all with their margin."""
        return float((self.high - self.low).max()) * (1 + 2 * cutting.margin)


class Run:
    """Frames ``first`` .. ``first + len(points) - 1`` of a video, and the landmarks of each [468, 2]."""

    def __init__(self, first: int, points: Points) -> None:
        self.first, self.points, self.extent = first, [points], Extent.of(points)

    def add(self, points: Points) -> None:
        """The next frame."""
        self.points.append(points)
        self.extent = self.extent.with_face(points)


class Square(NamedTuple):
    """Middle and side in pixels of the video; a pixel's middle is a whole number."""

    x: float
    y: float
    side: float


def runs(
    observations: Iterable[Observation],
    room: float,
    cutting: Cutting,
    dropped: Counter[str],
    ends: Counter[str],
) -> Iterator[Run]:
    """Runs that fit a square of at most ``room`` pixels, the shorter side of the frame.

    Counts into ``dropped`` the frames that are in no run, by reason, and into ``ends`` why runs ended.
    """
    current: Run | None = None

    def finished(run: Run | None) -> Iterator[Run]:
        if run is not None and len(run.points) >= cutting.shortest:
            yield run
        elif run is not None:
            dropped[TOO_SHORT] += len(run.points)

    for seen in observations:
        why = _end(current, seen, room, cutting)
        if why and current is not None:
            ends[why] += 1
            yield from finished(current)
            current = None
        if seen.points is None:
            dropped[seen.reason] += 1
        elif current is None:
            current = Run(seen.number, seen.points)
        else:
            current.add(seen.points)
    yield from finished(current)


def _end(run: Run | None, seen: Observation, room: float, cutting: Cutting) -> str:
    """Why the run cannot go on with that frame, if so."""
    if run is None:
        return ""
    if seen.number != run.first + len(run.points):
        return UNREADABLE  # the frames of a run follow each other, or its points would be of other frames
    if seen.cut:
        return SCENE_CUT
    if seen.points is None:
        return seen.reason
    if overlap(run.points[0], seen.points) < cutting.overlap:
        return MOVED
    # A face that is too large by itself makes a run of its own, which nobody can use.
    if run.extent.needed(cutting) <= room < run.extent.with_face(seen.points).needed(cutting):
        return ROOM
    return LONG if len(run.points) >= cutting.longest else ""


def overlap(a: Points, b: Points) -> float:
    """Intersection over union of the boxes about the points."""
    low, high = np.maximum(a.min(0), b.min(0)), np.minimum(a.max(0), b.max(0))
    common = float(np.prod(np.maximum(high - low, 0)))
    return common / (float(np.prod(np.ptp(a, axis=0))) + float(np.prod(np.ptp(b, axis=0))) - common)


def square_about(run: Run, shape: tuple[int, int], cutting: Cutting) -> Square | None:
    """The square of a run in frames of that height and width; none if the frame is too tight about the face.

    It lies inside the frame, so that nothing has to be made up: moved as far as need be, and made smaller as
    long as all places of the face keep their margin.
    """
    boxes = np.array([(points.min(0), points.max(0)) for points in run.points])
    low, high = run.extent
    longest = float(np.median((boxes[:, 1] - boxes[:, 0]).max(1)))
    needed = run.extent.needed(cutting)
    side = min(max(cutting.scale * longest, needed), *shape)
    if side < needed:
        return None
    middle = (low + high) / 2 + np.asarray(cutting.shift) * longest
    limits = np.array(shape[::-1], np.float64)
    inside: NDArray[np.float64] = np.clip(middle, side / 2 - 0.5, limits - side / 2 - 0.5)
    return Square(float(inside[0]), float(inside[1]), side)
