"""Pairs out of clips: two frames of one clip, from video or from views of a portrait that were kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..clips import FRAMES, LANDMARKS, Clips
from ..loop import step_seed
from .pairs import Pairs
from .synthesis import PairSynthesis


class ClipPairs:
    """Pairs of two different frames of the same clip, all clips equally often."""

    def __init__(self, folders: Sequence[Path], size: int, device: torch.device) -> None:
        self._clips = Clips(folders, size, device)

    def __len__(self) -> int:
        return len(self._clips)

    def batch(self, count: int, generator: torch.Generator) -> Pairs:
        """``count`` pairs; the generator is one of the clips' device."""
        pictures, points = self._clips.draw(count, 2, generator)
        return Pairs(pictures[:, 0], pictures[:, 1], points[:, 0], points[:, 1])


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
