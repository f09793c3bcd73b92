"""Batches for the classifier: pairs of a real picture and a fake of it, made on the way.

Both of a pair come from the same picture through the same camera and are then cut out and degraded, each by
itself, by the same rules: only the manipulation is left to tell them apart. Everything is drawn from one seed
a batch, so that a batch can be made again anywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import fakes
from ..fakes.geometry import Picture, Points
from ..fakes.pack import Face, Pack
from ..fakes.prepared import REAL, pairs, resized
from ..fakes.reenacted import FAMILY as REENACTED

SHARES = {"fwa": 0.24, "self_blended": 0.18, "reposed": 0.16, REENACTED: 0.42}
"""How much of a batch each family is; that of our animator is left out where no such pairs were prepared."""
PREPARED = 0.35
"""Share of the prepared pairs of a family that is also made on the way."""
SHOT = 0.85
"""Share of pictures that go through a camera; pictures of our animator half as often."""
SMALL, LEAST_SIDE = 0.5, 96
"""Share of pictures that are made small before anything else, and the least width in pixels: faces that were
small in their picture have smooth skin beside hair and edges of full contrast, which is no fake's doing."""


@dataclass(frozen=True)
class Sources:
    """Folders of packs, each with its weight, and of prepared pairs; ``shares`` go before `SHARES`."""

    packs: tuple[tuple[Path, float], ...]
    prepared: tuple[Path, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)

    def settings(self) -> dict[str, object]:
        """As plain data."""
        return {
            "packs": [[str(folder), weight] for folder, weight in self.packs],
            "prepared": [str(folder) for folder in self.prepared],
            "shares": dict(self.shares),
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
        self._prepared = [Pack(folder) for folder in sources.prepared]
        self._pairs: dict[str, list[tuple[int, int, int]]] = {}
        for number, pack in enumerate(self._prepared):
            for family, found in pairs(pack, split).items():
                self._pairs.setdefault(family, []).extend((number, *pair) for pair in found)
        self.shares = {
            family: sources.shares.get(family, share)
            for family, share in SHARES.items()
            if family in fakes.TRAINED or family in self._pairs
        }
        # a split that is only judged may lack what the other one trains with
        if split == "train":
            self._check_shares(sources.shares)

    def _check_shares(self, asked: Mapping[str, float]) -> None:
        if unknown := asked.keys() - self.shares.keys():
            raise ValueError(f"shares of {sorted(unknown)}, but the families are {list(self.shares)}")
        if not sum(self.shares.values()):
            raise ValueError("no family has a share above 0")

    def face(self, rng: np.random.Generator) -> Face:
        """One drawn by the weights."""
        pack = int(rng.choice(len(self._packs), p=self._weights))
        return self._packs[pack][int(rng.choice(self._indices[pack]))]

    def prepared(self, rng: np.random.Generator, family: str) -> tuple[Face, Face] | None:
        """A real picture and a fake of it that were prepared; ``None`` if one is to be made on the way."""
        found = self._pairs.get(family, [])
        if not found or (family in fakes.TRAINED and rng.random() >= PREPARED):
            return None
        pack, real, fake = found[int(rng.integers(len(found)))]
        return self._prepared[pack][real], self._prepared[pack][fake]

    def family(self, rng: np.random.Generator) -> str:
        """One drawn by the shares."""
        share = np.array(list(self.shares.values()))
        return list(self.shares)[int(rng.choice(len(share), p=share / share.sum()))]


def make_pair(
    faces: Faces, rng: np.random.Generator, family: str, strength: float, side: int, *, plain: bool = False
) -> list[Picture]:
    """A real picture and a fake of that family, each [side, side, 3] as the detector gets it.

    If ``plain`` they are of a face as it was packed: through no camera, not made small, not encoded before.
    """
    if plain and family in fakes.TRAINED:
        face = faces.face(rng)
        made = fakes.make(family, rng, face.picture, face.points)
        return [_seen(rng, picture, face.points, strength, side) for picture in (face.picture, made)]
    pair = faces.prepared(rng, family)
    if pair is not None:
        both = [(face.picture, face.points) for face in pair]
        if family == REENACTED and not plain and rng.random() < SHOT / 2:
            # drawn once and done to both: their heads are at other places, the light is the same
            seed = int(rng.integers(1 << 62))
            both = [
                (fakes.shoot(np.random.default_rng(seed), picture, points), points)
                for picture, points in both
            ]
    else:
        face = _maybe_small(rng, faces.face(rng))
        taken = fakes.shoot(rng, face.picture, face.points) if rng.random() < SHOT else face.picture
        both = [(taken, face.points), (fakes.make(family, rng, taken, face.points), face.points)]
    return [_seen(rng, picture, points, strength, side) for picture, points in both]


def _maybe_small(rng: np.random.Generator, face: Face) -> Face:
    whole = face.picture.shape[0]
    if rng.random() >= SMALL or whole <= LEAST_SIDE:
        return face
    return resized(face, round(np.exp(rng.uniform(np.log(LEAST_SIDE), np.log(whole)))))


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
    sources: Sources,
    count: int,
    side: int,
    strengths: Sequence[float] = (fakes.MILD, 1.0),
    *,
    plain: bool = False,
) -> HeldOut:
    """``count`` pairs a family and strength, always the same ones; as `make_pair` makes them."""
    faces = Faces(sources, "val")
    pictures, names, levels = [], [], []
    for number, strength in enumerate(strengths):
        for family in faces.shares:
            rng = np.random.default_rng((number, sum(family.encode())))
            for _ in range(count):
                pictures += make_pair(faces, rng, family, strength, side, plain=plain)
                names += [REAL, family]
                levels += [strength, strength]
    families = np.array(names)
    return HeldOut(np.stack(pictures), families != REAL, families, np.array(levels))
