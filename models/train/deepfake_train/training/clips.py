"""Clips that training reads: several pictures of one person, with the points of the face mesh.

A folder a clip: ``frames.npy``, uint8 [T, S, S, 3] RGB, square crops of one window, and ``landmarks.npy``,
float32 [T, 468, 2], the FaceMesh points in pixels of those crops (0 is the centre of the first pixel).
``prepare videos`` and ``train fomm --views`` write such folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..preparation.files import name_below
from .landmarks import POINTS

FRAMES, LANDMARKS = "frames.npy", "landmarks.npy"
CROP_SCALE = 1.7
"""Side of the square that clips and views show, in longer sides of the FaceMesh box, give or take motion."""


class NoClipsError(ValueError):
    """A folder that was given for its clips has none."""


class Faces(NamedTuple):
    """Pictures of N people, K of each [N, K, 3, S, S], RGB in 0..1, and points [N, K, 468, 2] in -1..1."""

    pictures: Tensor
    points: Tensor


def clip_folders(root: Path) -> list[Path]:
    """The clips below a folder, in the order of their names."""
    return sorted(path.parent for path in root.rglob(FRAMES))


def all_clips(roots: Sequence[Path]) -> list[Path]:
    """The clips below all of these folders; ``NoClipsError`` names those without any."""
    below = [clip_folders(root) for root in roots]
    empty = [str(root) for root, folders in zip(roots, below, strict=True) if not folders]
    if empty:
        raise NoClipsError(f"no clips below {', '.join(empty)}")
    return [folder for folders in below for folder in folders]


def clip_names(roots: Sequence[Path]) -> list[str]:
    """Names for the clips of `all_clips`."""
    return [name_below(root, folder) for root in roots for folder in clip_folders(root)]


class Clips:
    """Different frames of the same clip, all clips equally often."""

    def __init__(self, folders: Sequence[Path], size: int, device: torch.device) -> None:
        if not folders:
            raise ValueError("no clips")
        self.size, self.device = size, device
        # mapped, not read: a set of clips may be larger than the memory
        self._frames = [np.load(folder / FRAMES, mmap_mode="r") for folder in folders]
        self._points = [np.load(folder / LANDMARKS) for folder in folders]
        for folder, frames, points in zip(folders, self._frames, self._points, strict=True):
            square = frames.ndim == 4 and frames.shape[1] == frames.shape[2] and frames.shape[3] == 3
            if frames.dtype != np.uint8 or not square or len(frames) < 2:
                raise ValueError(f"{folder}: frames are {frames.dtype} {frames.shape}")
            if points.shape != (len(frames), POINTS, 2):
                raise ValueError(f"{folder}: {len(frames)} frames, but points are {points.shape}")

    def __len__(self) -> int:
        return len(self._frames)

    def shortest(self) -> int:
        """Frames of the shortest clip."""
        return min(len(frames) for frames in self._frames)

    def draw(self, people: int, pictures: int, generator: torch.Generator) -> Faces:
        """Some pictures of each of some clips; the generator is one of ``device``."""
        draw = torch.rand(people, 1 + pictures, generator=generator, device=self.device, dtype=torch.float64)
        taken: list[tuple[int, int]] = []
        for clip, *places in draw.cpu().tolist():
            index = int(clip * len(self))
            left, position = list(range(len(self._frames[index]))), 0
            for place in places:
                position = (position + int(place * len(left))) % len(left)
                taken.append((index, left.pop(position)))
        sides = {self._frames[index].shape[1] for index, _ in taken}
        images = []
        for index, frame in taken:
            picture = torch.from_numpy(np.array(self._frames[index][frame])).to(self.device)
            picture = picture.permute(2, 0, 1)[None].float() / 255
            if sides != {self.size}:
                picture = functional.interpolate(picture, size=(self.size, self.size), mode="area")
            images.append(picture)
        points = torch.from_numpy(np.stack([self._normalised(*place) for place in taken])).to(self.device)
        shape = (people, pictures)
        return Faces(torch.cat(images).unflatten(0, shape), points.unflatten(0, shape))

    def average_face(self, scale: float, shift: float) -> Tensor:
        """Mean of the first faces of all clips [468, 2], in a picture that is ``scale`` times their longer
        side, and whose middle lies ``shift`` of that side below theirs (negative: above).
        """
        faces = []
        for index in range(len(self)):
            points = self._normalised(index, 0)
            low, high = points.min(0), points.max(0)
            faces.append((points - (low + high) / 2) / (high - low).max())
        middle = np.mean(faces, axis=0) - np.array([0, shift])
        return torch.from_numpy((2 * middle / scale).astype(np.float32))

    def _normalised(self, clip: int, frame: int) -> np.ndarray:
        side = self._frames[clip].shape[1]
        return (self._points[clip][frame] * (2 / (side - 1)) - 1).astype(np.float32)
