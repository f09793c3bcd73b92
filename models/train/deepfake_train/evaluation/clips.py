"""Talking heads to evaluate on: every n-th frame of a video, cut out by one square that stands still.

One square per clip, as VoxCeleb is prepared, rather than one per frame: a crop that follows the face would
take the motion away that is to be measured. It is the crop of the model's manifest about the median of the
face's box over the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..faces import FaceFinder, Picture, Points, face_square, square
from ..video import frames

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


def read_clip(
    path: Path, finder: FaceFinder, crop: dict[str, Any], *, size: int = 256, every: int = 5
) -> Clip:
    """``crop`` is the section of a manifest."""
    seen: list[tuple[int, Picture, Points]] = []
    without = 0
    for index, picture in frames(path, every):
        box = finder.box(picture)
        mesh = None if box is None else finder.mesh(picture, box)
        if mesh is None or mesh.presence < LEAST_PRESENCE:
            without += 1
        else:
            seen.append((index, picture, mesh.points[:, :2]))
    if not seen:
        return Clip(path.stem, [], without, 0)
    low = np.median([points.min(0) for _, _, points in seen], axis=0)
    high = np.median([points.max(0) for _, _, points in seen], axis=0)
    place = face_square(low, high, crop)
    kept, slack = [], MOST_OUTSIDE * size
    for index, picture, points in seen:
        patch, back = square(picture, *place, size)
        inside = ((points - back[:, 2]) @ np.linalg.inv(back[:, :2]).T).astype(np.float32)
        if inside.min() > -slack and inside.max() < size + slack:
            kept.append(Frame(index, patch, inside))
    return Clip(path.stem, kept, without, len(seen) - len(kept))
