"""Pairs that are made once and kept, because they take too long for the way to a training step.

A prepared pack holds pairs: a real picture, of the source `REAL`, and after it a fake of it, whose source is
its family. Both went through the same: what is prepared here goes through a real H.264 encoder, which the
pictures made on the way only meet a stand-in of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import cv2
import numpy as np

from ..evaluation.compression import compress
from .pack import Face, Pack

REAL = "real"
QUALITIES = (18, 22, 25, 28, 31, 34)
"""Constant rate factors of H.264."""
SIDES = (160, 224, 288)
"""Widths in pixels at which pictures are manipulated and encoded."""
MOST_AT_ONCE = 64

Packed = tuple[Face, str, str]
"""A face with its split and its name."""
Make = Callable[[np.random.Generator, Face], Face]
"""A fake of a face."""


def prepare(
    faces: Sequence[Face],
    families: dict[str, Make],
    shoot: Make,
    seed: int,
    numbers: Iterable[int],
    split: str,
) -> Iterator[list[Packed]]:
    """A pair for each number, drawn from ``seed`` and it, the families in turn; half of them by way of
    ``shoot``."""
    names = list(families)
    for number in numbers:
        rng = np.random.default_rng((seed, number))
        face = resized(faces[int(rng.integers(len(faces)))], SIDES[int(rng.integers(len(SIDES)))])
        if rng.random() < 0.5:
            face = shoot(rng, face)
        family = names[number % len(names)]
        fake = families[family](rng, face)
        yield [
            (face._replace(source=REAL), split, f"{split} {number}"),
            (fake._replace(source=family), split, f"{split} {number}"),
        ]


def resized(face: Face, side: int) -> Face:
    """The same at another size."""
    scale = side / face.picture.shape[0]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture = cv2.resize(face.picture, (side, side), interpolation=how).astype(np.uint8)
    # pixels are areas: the middle of the first one moves
    moved = face.points * np.float32(scale)
    moved[:, :2] += np.float32((scale - 1) / 2)
    return Face(picture, moved, face.box * np.float32(scale), face.source)


def through_h264(packed: Sequence[Packed], seed: int, share: float) -> list[Packed]:
    """Both pictures of a share of the pairs through an H.264 encoder, with the same quality."""
    rng = np.random.default_rng((seed, len(packed)))
    result = list(packed)
    groups: dict[tuple[int, ...], list[int]] = {}
    for real in range(0, len(packed), 2):
        quality = QUALITIES[int(rng.integers(len(QUALITIES)))]
        if rng.random() < share:
            height, width = packed[real][0].picture.shape[:2]
            groups.setdefault((quality, height, width), []).append(real)
    for (quality, *_), reals in groups.items():
        for at in range(0, len(reals), MOST_AT_ONCE):
            places = [place for real in reals[at : at + MOST_AT_ONCE] for place in (real, real + 1)]
            pictures = compress(
                [packed[place][0].picture for place in places], f"h264-{quality}", moving=False
            )
            for place, picture in zip(places, pictures, strict=True):
                face, split, name = packed[place]
                result[place] = (face._replace(picture=picture), split, f"{name}, crf {quality}")
    return result


def pairs(pack: Pack, split: str) -> dict[str, list[tuple[int, int]]]:
    """(real, fake) of a prepared pack, by index, for each family.

    Raises ``ValueError`` if what follows a real picture is no fake of it.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    for real in range(0, len(pack), 2):
        if pack.source(real) != REAL or real + 1 == len(pack) or pack.source(real + 1) == REAL:
            raise ValueError(
                f"pictures {real} and {real + 1} of the pack are no pair of a real one and a fake"
            )
        if pack.split(real) == split:
            found.setdefault(pack.source(real + 1), []).append((real, real + 1))
    return found
