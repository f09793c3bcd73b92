"""A pack of the faces in somebody's own pictures and videos."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from ..faces import FaceFinder, square
from ..picture_file import UnreadablePictureError, read_picture
from ..video import frames
from .geometry import FACEMESH_POINTS, USED, Floats, Picture, Points, with_depth
from .pack import Face

PICTURES = {".jpg", ".jpeg", ".png", ".webp"}
MOST_SIDE = 320
MARGIN = 1.8
"""Side of a packed picture in longer sides of the face's points."""
LEAST_FACE = 60


def cut_out(picture: Picture, points: Points, source: str) -> Face:
    """The square about a face [H, W, 3] BGR, shrunk to at most `MOST_SIDE` pixels and never enlarged."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    longest = float((high - low).max())
    x, y = (low + high) / 2
    side = MARGIN * longest
    crop, back = square(picture, float(x), float(y), side, round(min(side, MOST_SIDE)))
    inward = cv2.invertAffineTransform(back)
    moved = points[:, :2] @ inward[:, :2].T + inward[:, 2]
    kept = np.zeros((FACEMESH_POINTS, 3), np.float32)
    kept[list(USED)] = with_depth(moved.astype(np.float32))
    scale = float(inward[0, 0])
    corner = (low @ inward[:, :2].T) + inward[:, 2]
    box = np.array([*corner, *((high - low) * scale)], np.float32)
    return Face(crop, kept, box, source)


class Collected(NamedTuple):
    """Faces ready to pack with their splits and names; how many pictures were left out, by reason; and files
    without any picture that can be read."""

    found: list[tuple[Face, str, str]]
    left_out: dict[str, int]
    unreadable: list[Path]


def collect(
    paths: Iterable[Path],
    finder: FaceFinder,
    *,
    every: int,
    hold_out: int,
    source: str,
    hold_out_by: str = "file",
) -> Collected:
    """The best face of every picture and of every n-th frame of every video.

    Every ``hold_out``-th readable file, with all its frames, is of the split ``val``, the others are of
    ``train``. ``hold_out_by``: ``file``, or ``folder``: every so-many-th folder is, with all files in it, for
    which one folder has to hold all there is of a person.
    """
    found: list[tuple[Face, str, str]] = []
    left_out: dict[str, int] = {}
    unreadable: list[Path] = []
    numbers: dict[Path, int] = {}
    """Of what is held out together, from 1, in the order in which it came."""
    for path in paths:
        pictures = _readable(path, every)
        if pictures is None:
            unreadable.append(path)
            continue
        together = path if hold_out_by == "file" else path.parent.resolve()
        number = numbers.setdefault(together, len(numbers) + 1)
        split = "val" if hold_out and number % hold_out == 0 else "train"
        for index, picture in pictures:
            points = finder.points(picture)
            if points is None:
                reason = "no face"
            elif float(np.ptp(points, axis=0).max()) < LEAST_FACE:
                reason = "small"
            elif not _inside(points, picture):
                reason = "cut off"
            else:
                found.append((cut_out(picture, points, source), split, f"{path.name}#{index}"))
                continue
            left_out[reason] = left_out.get(reason, 0) + 1
    return Collected(found, left_out, unreadable)


def _readable(path: Path, every: int) -> Iterator[tuple[int, Picture]] | None:
    """`read_pictures`, or ``None`` if there is not even a first one."""
    pictures = read_pictures(path, every)
    try:
        first = next(pictures, None)
    except OSError:
        return None
    return None if first is None else itertools.chain([first], pictures)


def _inside(points: Floats, picture: Picture) -> bool:
    height, width = picture.shape[:2]
    slack = 0.03 * float(np.ptp(points, axis=0).max())
    return bool((points.min(0) > -slack).all() and (points.max(0) < (width + slack, height + slack)).all())


def read_pictures(path: Path, every: int) -> Iterator[tuple[int, Picture]]:
    """(number, picture) of every n-th frame of a video, or of a picture."""
    if path.suffix.lower() in PICTURES:
        with contextlib.suppress(UnreadablePictureError):
            yield 0, read_picture(path)
        return
    yield from frames(path, every)
