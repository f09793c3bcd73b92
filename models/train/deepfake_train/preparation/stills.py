"""Folders of portraits to one pack: square pictures, landmarks, and the pose of the standard head.

The pack is an ``.npz``: ``data`` and ``off`` [N + 1], WebP files one after the other and where they begin;
``lm`` [N, 468, 3] uint16, (pixel + 256) * 64; ``s`` [N], ``R`` [N, 3, 3], ``t`` [N, 3], scale, rotation and
shift of the head; ``euler`` [N, 3] yaw, pitch and roll in degrees; ``test`` [N]; ``names`` [N]; ``can`` and
``tri``, the head; ``size``; ``licence``.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..faces import FaceFinder, Mesh, Picture, Points, square
from ..picture_file import UnreadablePictureError, read_picture
from .files import find_files
from .head import Head, Pose, fit
from .observation import CUT_OFF, NO_FACE, OCCLUDED, SEVERAL, SMALL, UNREADABLE

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
TURNED, ODD, BLURRED, REPEATED = "head turned too far", "not the shape of a head", "blurred", "seen already"

SCALE, SHIFT = 1.7, (0.0, -0.06)
"""Of the middle `CROP` pixels of a picture, as in fomm-lite's manifest; the rest is room to move it."""
CROP = 256
LEAST_PRESENCE, RIVAL = 0.8, 0.5
MOST_ANGLES = (28.0, 24.0, 20.0)  # further the half that turns away has no pixels to learn from
MOST_ERROR = 1.3
"""Centimetres by which a face may differ from the standard head."""
SMALLEST = 105.0
TIGHTEST = 0.7
"""Most of the square's side that the face may take up: the surroundings have to move too."""
EDGE = 0.05
LEAST_LAPLACIAN = 12.0
NEAREST_HASH = 4
"""Differing bits of 64 up to which two pictures count as the same."""
POINT_UNITS, POINT_OFFSET = 64, 256
QUALITY = 88
TEST_EVERY = 20


class Still(NamedTuple):
    """A portrait that was kept."""

    picture: Picture
    points: Points
    pose: Pose


def find_pictures(given: Sequence[Path]) -> list[tuple[Path, str]]:
    """Pictures with their names; see `find_files`."""
    return find_files(given, SUFFIXES)


def prepare_stills(
    pictures: Iterable[tuple[Path, str]],
    finder: FaceFinder,
    head: Head,
    out: Path,
    *,
    size: int,
    licence: str,
) -> list[tuple[str, int]]:
    """Writes the pack; returns how many were kept and, by reason, how many were not."""
    kept: list[Still] = []
    names: list[str] = []
    dropped: Counter[str] = Counter()
    hashes: list[NDArray[np.bool_]] = []
    for path, name in pictures:
        try:
            result = prepare_still(read_picture(path), finder, head, size)
        except UnreadablePictureError:
            result = UNREADABLE
        if isinstance(result, Still):
            seen = _hash(result.picture)
            if any(int((seen != other).sum()) <= NEAREST_HASH for other in hashes):
                result = REPEATED
            else:
                hashes.append(seen)
        if isinstance(result, str):
            dropped[result] += 1
        else:
            kept.append(result)
            names.append(name)
    if kept:
        _write(kept, names, head, out, size, licence)
    return [("kept", len(kept)), *dropped.most_common()]


def prepare_still(picture: Picture, finder: FaceFinder, head: Head, size: int) -> Still | str:
    """The portrait, or why it is none."""
    boxes = sorted(finder.boxes(picture), key=lambda box: -box.side)
    if not boxes:
        return NO_FACE
    if any(box.side >= RIVAL * boxes[0].side for box in boxes[1:]):
        return SEVERAL
    mesh = finder.mesh(picture, boxes[0])
    refused = _refused(mesh, fit(head, mesh.points))
    if refused:
        return refused
    low, high = mesh.points[:, :2].min(0), mesh.points[:, :2].max(0)
    longest = float((high - low).max())
    side = min(SCALE * longest * size / CROP, *picture.shape[:2])
    middle = (low + high) / 2 + np.asarray(SHIFT) * longest
    limits = np.array(picture.shape[1::-1], np.float64)
    middle = np.clip(middle, side / 2 - 0.5, limits - side / 2 - 0.5)
    near, far = (low - middle) / side, (high - middle) / side
    if longest > TIGHTEST * side or near.min() < EDGE - 0.5 or far.max() > 0.5 - EDGE:
        return CUT_OFF
    crop, back = square(picture, float(middle[0]), float(middle[1]), side, size)
    scale = side / size
    points = np.hstack(((mesh.points[:, :2] - back[:, 2]) / scale, mesh.points[:, 2:] / scale))
    left, top = np.maximum(points[:, :2].min(0), 0).astype(int)
    right, bottom = points[:, :2].max(0).astype(int)
    grey = cv2.cvtColor(crop[top:bottom, left:right], cv2.COLOR_BGR2GRAY)
    if cv2.Laplacian(grey, cv2.CV_32F).var() < LEAST_LAPLACIAN:
        return BLURRED
    points = points.astype(np.float32)
    return Still(crop, points, fit(head, points))


def _refused(mesh: Mesh, pose: Pose) -> str:
    if mesh.presence < LEAST_PRESENCE:
        return OCCLUDED
    if any(abs(angle) > most for angle, most in zip(pose.angles(), MOST_ANGLES, strict=True)):
        return TURNED
    if pose.error > MOST_ERROR:
        return ODD
    return SMALL if np.ptp(mesh.points[:, :2], axis=0).max() < SMALLEST else ""


def _hash(picture: Picture) -> NDArray[np.bool_]:
    """64 bits: where it gets brighter to the right in a picture of 9 x 8 pixels."""
    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), (9, 8), interpolation=cv2.INTER_AREA)
    return np.asarray(small[:, 1:] > small[:, :-1]).ravel()


def _write(kept: list[Still], names: list[str], head: Head, out: Path, size: int, licence: str) -> None:
    encoded = [
        cv2.imencode(".webp", still.picture, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1].ravel() for still in kept
    ]
    points = np.stack([still.points for still in kept])
    np.savez(
        out,
        data=np.concatenate(encoded),
        off=np.cumsum([0, *map(len, encoded)]),
        lm=np.clip(np.round((points + POINT_OFFSET) * POINT_UNITS), 0, 65535).astype(np.uint16),
        s=np.array([still.pose.scale for still in kept], np.float32),
        R=np.stack([still.pose.rotation for still in kept]).astype(np.float32),
        t=np.stack([still.pose.shift for still in kept]).astype(np.float32),
        euler=np.array([still.pose.angles() for still in kept], np.float32),
        test=np.array([zlib.crc32(name.encode()) % TEST_EVERY == 0 for name in names]),
        names=np.array(names),
        can=head.shape.astype(np.float32),
        tri=head.triangles.astype(np.int32),
        size=size,
        licence=licence,
    )
