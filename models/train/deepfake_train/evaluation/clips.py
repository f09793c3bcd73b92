"""Talking heads to evaluate on: every n-th frame of a video, cut out by one square that stands still.

One square per clip, as VoxCeleb is prepared, rather than one per frame: a crop that follows the face would
take the motion away that is to be measured. It is the crop of the model's manifest about the median of the
face's box over the clip.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

from ..faces import FaceFinder, Picture, Points, face_square, square
from ..video import frames, video_format

LEAST_PRESENCE = 0.5
MOST_OUTSIDE = 0.05
"""How much of the square's side a face may stick out of it."""


class Frame(NamedTuple):
    """A crop and the 468 points [468, 2] in it."""

    number: int
    crop: Picture
    points: Points


class Clip(NamedTuple):
    """The frames that are used, and how many were left out: no face found, or it left the square."""

    name: str
    frames: list[Frame]
    without_face: int
    outside: int


def different_names(paths: Sequence[Path]) -> None:
    """Raises ``ValueError`` if two clips have the same name: their figures could not be told apart."""
    by_name: dict[str, Path] = {}
    for path in paths:
        other = by_name.setdefault(path.stem, path)
        if other is not path:
            raise ValueError(f"{other} and {path} have the same name: rename one of them")


class Sightings(NamedTuple):
    """The faces in every n-th frame of a video: the points [468, 3] by the number of the frame, the frames'
    height and width, and in how many of them no face was found."""

    points: dict[int, Points]
    shape: tuple[int, int]
    without_face: int


def find_faces(path: Path, finder: FaceFinder, *, every: int) -> Sightings:
    """Keeps no frame: ten minutes of them take 20 GB. Who wants their pictures reads the video once more."""
    points: dict[int, Points] = {}
    shape, without = (0, 0), 0
    for index, picture in _watched(path, every):
        box = finder.box(picture)
        mesh = None if box is None else finder.mesh(picture, box)
        if mesh is None or mesh.presence < LEAST_PRESENCE:
            without += 1
            continue
        if not points:
            shape = picture.shape[:2]
        points[index] = mesh.points
    return Sightings(points, shape, without)


def _watched(path: Path, every: int) -> Iterator[tuple[int, Picture]]:
    """Every n-th frame, beside a progress bar."""
    count = -(-video_format(path).frames // every)
    yield from track(frames(path, every), f"{path.stem}: faces", total=count or None)


def read_clip(
    path: Path, finder: FaceFinder, crop: dict[str, Any], *, size: int = 256, every: int = 5
) -> Clip:
    """``crop`` is the section of a manifest."""
    found, _, without = find_faces(path, finder, every=every)
    if not found:
        return Clip(path.stem, [], without, 0)
    seen = {index: points[:, :2] for index, points in found.items()}
    low = np.median([points.min(0) for points in seen.values()], axis=0)
    high = np.median([points.max(0) for points in seen.values()], axis=0)
    place = face_square(low, high, crop)
    kept, slack = [], MOST_OUTSIDE * size
    for index, picture in frames(path, every):
        points = seen.get(index)
        if points is None:
            continue
        patch, back = square(picture, *place, size)
        inside = ((points - back[:, 2]) @ np.linalg.inv(back[:, :2]).T).astype(np.float32)
        if inside.min() > -slack and inside.max() < size + slack:
            kept.append(Frame(index, patch, inside))
    return Clip(path.stem, kept, without, len(seen) - len(kept))
