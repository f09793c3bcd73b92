"""Pairs out of clips: two frames of one clip, from video or from views of a portrait that were kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..clips import FRAMES, LANDMARKS, Clips, clip_folders
from ..loop import step_seed
from .pairs import Pairs
from .synthesis import PairSynthesis

VIEWS = "views.json"


class ViewsMismatchError(ValueError):
    """A folder holds views of other portraits, or made otherwise."""


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


def claim_views(root: Path, about: Mapping[str, Any]) -> None:
    """Writes down what the views below ``root`` are made from, or makes sure that they are made from that.

    Raises ``ViewsMismatchError`` if they are not, or if there are views of which nothing is written down.
    """
    text, path = json.dumps(about, indent=2, sort_keys=True), root / VIEWS
    known = path.read_text(encoding="utf-8") if path.exists() else None
    if known is None and clip_folders(root):
        raise ViewsMismatchError(f"{root} has clips, but no {VIEWS} says what they show: take another folder")
    if known == text:
        return
    if known is not None:
        raise ViewsMismatchError(
            f"the views in {root} are made from something else: take another folder, or delete this one; "
            f"compare {path} with\n{text}"
        )
    root.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def write_views(synthesis: PairSynthesis, root: Path, pairs: int, seed: int) -> Iterator[Path]:
    """Keeps 2 x ``pairs`` views of every portrait as a clip below ``root``; yields each folder once done.

    Folders that are there already are left as they are, so that it can be gone on with: `claim_views` first.
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
            beside = folder / f"{FRAMES}.part"
            with beside.open("wb") as file:
                np.save(file, frames.cpu().numpy())
            beside.replace(folder / FRAMES)  # last: it says that the clip is whole
        yield folder
