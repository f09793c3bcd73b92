"""Batches for the classifier: pairs of a real picture and a fake of it, made on the way.

Both of a pair come from the same picture through the same camera and are then cut out and degraded, each by
itself, by the same rules: only the manipulation is left to tell them apart. Everything is drawn from one seed
a batch, so that a batch can be made again anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import fakes
from ..fakes.geometry import Picture, Points
from ..fakes.pack import Face, Pack
from ..fakes.reenacted import pairs

REAL = "real"
REENACTED = "reenacted"
SHARES = {"fwa": 0.36, "self_blended": 0.2, "reposed": 0.2, REENACTED: 0.24}
"""How much of a batch each family is, if there are prepared pictures of our animator; else it is left out."""
SHOT = 0.7
"""Share of pictures that go through a camera; pictures of our animator half as often."""


@dataclass(frozen=True)
class Sources:
    """Folders of packs with the weight of each, and of what the animator made, if there is any."""

    packs: tuple[tuple[Path, float], ...]
    reenacted: Path | None = None

    def settings(self) -> dict[str, object]:
        """As plain data."""
        return {
            "packs": [[str(folder), weight] for folder, weight in self.packs],
            "reenacted": None if self.reenacted is None else str(self.reenacted),
        }


class Batch(NamedTuple):
    """Pictures [N, S, S, 3] BGR, real and fake in turn; whether fake [N]; the family of each pair [N / 2]."""

    pictures: NDArray[np.uint8]
    fake: NDArray[np.bool_]
    families: list[str]


class Faces:
    """The packs of a split, open."""

    def __init__(self, sources: Sources, split: str) -> None:
        self._packs = [Pack(folder) for folder, _ in sources.packs]
        self._indices = [pack.indices(split) for pack in self._packs]
        weights = np.array(
            [
                weight if len(found) else 0
                for (_, weight), found in zip(sources.packs, self._indices, strict=True)
            ]
        )
        if not weights.sum():
            raise ValueError(
                f"no face of the split '{split}' in {[str(folder) for folder, _ in sources.packs]}"
            )
        self._weights = weights / weights.sum()
        self._reenacted = None if sources.reenacted is None else Pack(sources.reenacted)
        self._pairs = [] if self._reenacted is None else pairs(self._reenacted, split)
        self.shares = {
            family: share for family, share in SHARES.items() if family != REENACTED or self._pairs
        }

    def face(self, rng: np.random.Generator) -> Face:
        """One drawn by the weights."""
        pack = int(rng.choice(len(self._packs), p=self._weights))
        return self._packs[pack][int(rng.choice(self._indices[pack]))]

    def pair(self, rng: np.random.Generator) -> tuple[Face, Face]:
        """A portrait as our animator was given it, and what it made of it."""
        if self._reenacted is None:
            raise ValueError("no pictures of the animator were prepared")
        twin, fake = self._pairs[int(rng.integers(len(self._pairs)))]
        return self._reenacted[twin], self._reenacted[fake]

    def family(self, rng: np.random.Generator) -> str:
        """One drawn by `SHARES`."""
        share = np.array(list(self.shares.values()))
        return list(self.shares)[int(rng.choice(len(share), p=share / share.sum()))]


def make_pair(
    faces: Faces, rng: np.random.Generator, family: str, strength: float, side: int
) -> list[Picture]:
    """A real picture and a fake of that family, each [side, side, 3] as the detector gets it."""
    if family == REENACTED:
        real, fake = faces.pair(rng)
        if rng.random() < SHOT / 2:
            # drawn once and done to both: their heads are at other places, the light is the same
            seed = int(rng.integers(1 << 62))
            both = [
                (fakes.shoot(np.random.default_rng(seed), face.picture, face.points), face.points)
                for face in (real, fake)
            ]
        else:
            both = [(face.picture, face.points) for face in (real, fake)]
    else:
        face = faces.face(rng)
        taken = fakes.shoot(rng, face.picture, face.points) if rng.random() < SHOT else face.picture
        both = [(taken, face.points), (fakes.make(family, rng, taken, face.points), face.points)]
    return [_seen(rng, picture, points, strength, side) for picture, points in both]


def _seen(rng: np.random.Generator, picture: Picture, points: Points, strength: float, side: int) -> Picture:
    return fakes.degrade(rng, fakes.crop(rng, picture, points, side), strength)


def make_batch(faces: Faces, seed: int, size: int, side: int) -> Batch:
    """``size`` pictures, an even number."""
    rng = np.random.default_rng(seed)
    pictures, families = [], []
    for _ in range(size // 2):
        family = faces.family(rng)
        strength = fakes.MILD if rng.random() < 0.3 else rng.uniform(0.2, 1.0)
        pictures += make_pair(faces, rng, family, strength, side)
        families.append(family)
    return Batch(np.stack(pictures), np.arange(len(pictures)) % 2 == 1, families)


class HeldOut(NamedTuple):
    """Fixed pictures of the split ``val``: as `Batch`, with the family of each picture and its strength."""

    pictures: NDArray[np.uint8]
    fake: NDArray[np.bool_]
    families: NDArray[np.str_]
    strengths: NDArray[np.float64]


def held_out(
    sources: Sources, count: int, side: int, strengths: Sequence[float] = (fakes.MILD, 1.0)
) -> HeldOut:
    """``count`` pairs a family and strength, always the same ones."""
    faces = Faces(sources, "val")
    pictures, names, levels = [], [], []
    for number, strength in enumerate(strengths):
        for family in faces.shares:
            rng = np.random.default_rng((number, sum(family.encode())))
            for _ in range(count):
                pictures += make_pair(faces, rng, family, strength, side)
                names += [REAL, family]
                levels += [strength, strength]
    families = np.array(names)
    return HeldOut(np.stack(pictures), families != REAL, families, np.array(levels))
