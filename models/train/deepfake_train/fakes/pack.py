"""The packed faces that fakes are made from: square pictures with the face's points and a detector's box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..manifest import sha256
from .geometry import FACEMESH_POINTS, USED, Floats, Picture

NAMES = ("fwa-pack", "pack")


class Face(NamedTuple):
    """A picture [S, S, 3] BGR, points [468, 3] (those outside `USED` may be 0), box x, y, width, height, and
    the data set that it is from."""

    picture: Picture
    points: Floats
    box: Floats
    source: str


class Pack:
    """``fwa-pack.npz`` and ``fwa-pack.bin`` (or ``pack.*``) in a folder.

    The ``.bin`` holds JPEG or PNG files one after the other. The ``.npz``: ``off`` [N + 1], where they begin;
    ``lm`` [N, 81, 3], the points `USED`, or [N, 468, 3]; ``box`` [N, 4]; ``src``, ``split``, ``name`` [N].
    """

    def __init__(self, folder: Path) -> None:
        found = [name for name in NAMES if (folder / f"{name}.npz").exists()]
        if not found:
            raise FileNotFoundError(f"{folder}: no {' or '.join(f'{name}.npz' for name in NAMES)}")
        index = folder / f"{found[0]}.npz"
        self.digest = sha256(index)
        """What tells it from another pack; the pictures change with their places, which are in the index."""
        with np.load(index) as content:
            self._offsets, self._points = content["off"], content["lm"]
            self._boxes, self._sources = content["box"], content["src"]
            self._splits, self._names = content["split"], content["name"]
        if self._points.shape[1] not in (len(USED), FACEMESH_POINTS):
            raise ValueError(f"{folder}: {self._points.shape[1]} points a face, not {len(USED)} or 468")
        self._pictures = np.memmap(folder / f"{found[0]}.bin", np.uint8, mode="r")
        if len(self._pictures) != self._offsets[-1]:
            raise ValueError(f"{folder}: {len(self._pictures)} bytes of pictures, not {self._offsets[-1]}")

    def __len__(self) -> int:
        return len(self._splits)

    def indices(self, split: str) -> NDArray[np.int64]:
        """The faces of a split: ``train``, ``val`` or ``photo``, which is for evaluation alone."""
        return np.flatnonzero(self._splits == split)

    def source(self, index: int) -> str:
        """The data set that a face is from."""
        return str(self._sources[index])

    def split(self, index: int) -> str:
        """The split that a face is of."""
        return str(self._splits[index])

    def name(self, index: int) -> str:
        """Where the face is from: file and number of the face."""
        return str(self._names[index])

    def __getitem__(self, index: int) -> Face:
        encoded = np.asarray(self._pictures[self._offsets[index] : self._offsets[index + 1]])
        picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        if picture is None:
            raise ValueError(f"picture {index} of the pack cannot be decoded")
        points = self._points[index].astype(np.float32)
        if len(points) != FACEMESH_POINTS:
            points = np.zeros((FACEMESH_POINTS, 3), np.float32)
            points[list(USED)] = self._points[index]
        return Face(
            picture.astype(np.uint8),
            points,
            self._boxes[index].astype(np.float32),
            str(self._sources[index]),
        )


def write_pack(folder: Path, faces: Sequence[tuple[Face, str, str]], *, quality: int | None = 95) -> None:
    """Packs faces, each with its split and its name; pictures as JPEG of that quality, or without loss."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = []
    for face, _, name in faces:
        if quality is None:
            good, content = cv2.imencode(".png", face.picture, [cv2.IMWRITE_PNG_COMPRESSION, 3])
        else:
            good, content = cv2.imencode(".jpg", face.picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not good:
            raise ValueError(f"{name} cannot be encoded")
        encoded.append(content.tobytes())
    (folder / f"{NAMES[1]}.bin").write_bytes(b"".join(encoded))
    np.savez_compressed(
        folder / f"{NAMES[1]}.npz",
        off=np.cumsum([0, *map(len, encoded)]),
        lm=np.stack([face.points[list(USED)] for face, _, _ in faces]).astype(np.float16),
        box=np.stack([face.box for face, _, _ in faces]),
        src=np.array([face.source for face, _, _ in faces]),
        split=np.array([split for _, split, _ in faces]),
        name=np.array([name for _, _, name in faces]),
    )
