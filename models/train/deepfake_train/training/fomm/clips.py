"""Pairs out of video: two frames of one clip.

A folder a clip: ``frames.npy``, uint8 [T, S, S, 3] RGB, square crops of one window, and ``landmarks.npy``,
float32 [T, 468, 2], the FaceMesh points in pixels of those crops (0 is the centre of the first pixel).
Views of portraits can be kept the same way (`write_views`), which saves making them again in each step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from ..loop import step_seed
from .landmarks import POINTS
from .pairs import Pairs
from .synthesis import PairSynthesis

FRAMES, LANDMARKS = "frames.npy", "landmarks.npy"


def clip_folders(root: Path) -> list[Path]:
    """The clips below a folder, in the order of their names."""
    return sorted(path.parent for path in root.rglob(FRAMES))


class ClipPairs:
    """Pairs of two different frames of the same clip, all clips equally often."""

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

    def batch(self, count: int, generator: torch.Generator) -> Pairs:
        """``count`` pairs; the generator is one of ``device``."""
        draw = torch.rand(count, 3, generator=generator, device=self.device, dtype=torch.float64).cpu()
        taken = []
        for clip, first, second in draw.tolist():
            index = int(clip * len(self))
            length = len(self._frames[index])
            source = int(first * length)
            driving = (source + 1 + int(second * (length - 1))) % length  # any other frame
            taken += [(index, source), (index, driving)]
        sides = {self._frames[index].shape[1] for index, _ in taken}
        pictures = []
        for index, frame in taken:
            picture = torch.from_numpy(np.array(self._frames[index][frame])).to(self.device)
            picture = picture.permute(2, 0, 1)[None].float() / 255
            if sides != {self.size}:
                picture = functional.interpolate(picture, size=(self.size, self.size), mode="area")
            pictures.append(picture)
        points = np.stack(
            [
                self._points[index][frame] * (2 / (self._frames[index].shape[1] - 1)) - 1
                for index, frame in taken
            ]
        )
        images, places = torch.cat(pictures), torch.from_numpy(points).float().to(self.device)
        return Pairs(images[::2], images[1::2], places[::2], places[1::2])


def write_views(synthesis: PairSynthesis, root: Path, pairs: int, seed: int) -> Iterator[Path]:
    """Keeps 2 x ``pairs`` views of every portrait as a clip below ``root``; yields each folder once done.

    Folders that are there already are left as they are, so that it can be gone on with.
    """
    for index in range(len(synthesis.stills)):
        folder = root / f"{index:05}"
        if not (folder / FRAMES).exists():
            folder.mkdir(parents=True, exist_ok=True)
            generator = torch.Generator(synthesis.device).manual_seed(step_seed(seed, index, "views"))
            made = synthesis.pairs(torch.full((pairs,), index, device=synthesis.device), generator)
            frames = (torch.cat((made.source, made.driving)) * 255).round().byte().permute(0, 2, 3, 1)
            points = (torch.cat((made.source_points, made.driving_points)) + 1) * ((synthesis.size - 1) / 2)
            np.save(folder / LANDMARKS, points.cpu().numpy())
            np.save(folder / FRAMES, frames.cpu().numpy())  # last: it says that the clip is whole
        yield folder
