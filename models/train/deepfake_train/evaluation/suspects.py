"""Real pictures and fakes of them to judge a classifier on, the same ones every time.

Three groups, each with its own real ones:

- stills of a split of the pack, and a fake of every family of each;
- videos of talking heads, and a fake of every family of each;
- what our own animator makes: held-out portraits, and people of the videos, moved by the videos. The real
  ones are what went in, cut out by the same crop, so that resolution and framing tell nothing.

Everything random is drawn from generators that are seeded by what is made.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from ..animate import Animator, relative_motion
from ..faces import FaceFinder, Picture, Points
from ..fakes import FAMILIES, Face, Pack, make
from ..fakes.geometry import USED
from ..video import frames
from .clips import find_faces
from .reel import Reel

SEED = 20190
REAL = "real"
SURROUNDINGS = 2.6
"""Side of what is kept of a video's frames about the face, in parts of the face's longer side."""


class Suspects(NamedTuple):
    """Pictures of one family, or real ones.

    ``points`` [N, 2 or 3] of each span the face. ``clips`` names what each is from: a video, or the still
    itself. ``moving`` pictures are frames of one video in their order.
    """

    group: str
    family: str
    pictures: Sequence[Picture]
    points: list[Points]
    clips: list[str]
    moving: bool


def generator(*of: str | int) -> np.random.Generator:
    """The random numbers of whatever is named."""
    return np.random.default_rng([SEED, *(zlib.crc32(str(part).encode()) for part in of)])


def stills(pack: Pack, split: str, group: str, families: Sequence[str] = FAMILIES) -> Iterator[Suspects]:
    """Each face of the split once as it is and once of each family; a swap takes the face most like it."""
    indices = [int(index) for index in pack.indices(split)]
    names = [pack.name(index) for index in indices]
    faces = [pack[index] for index in indices]
    points = [face.points[list(USED)] for face in faces]
    if len(faces) < 2:  # a swap needs another one
        return
    yield Suspects(group, REAL, [face.picture for face in faces], points, names, moving=False)
    donors = most_alike([face_colour(face.picture, face.points) for face in faces])
    for family in families:
        pictures = [
            make(family, generator(family, name), face.picture, face.points, faces[donor])
            for name, face, donor in zip(names, faces, donors, strict=True)
        ]
        yield Suspects(group, family, pictures, points, names, moving=False)


class Footage(NamedTuple):
    """The surroundings of a video's face, cut out by one square that stands still, and the points in them."""

    name: str
    pictures: Sequence[Picture]
    points: list[Points]


def footage(path: Path, finder: FaceFinder, *, every: int) -> Footage:
    """No pixel is resampled. Where the face leaves the square the frame is left out."""
    seen, shape, _ = find_faces(path, finder, every=every)
    if not seen:
        return Footage(path.stem, [], [])
    low = np.median([points[:, :2].min(0) for points in seen.values()], axis=0)
    high = np.median([points[:, :2].max(0) for points in seen.values()], axis=0)
    reach = SURROUNDINGS / 2 * (high - low).max()
    left, top = np.clip(np.floor((low + high) / 2 - reach), 0, shape[::-1]).astype(int)
    right, bottom = np.clip(np.ceil((low + high) / 2 + reach), 0, shape[::-1]).astype(int)
    kept: dict[int, Points] = {}
    for index, points in seen.items():
        inside = points - np.array([left, top, 0], np.float32)
        if inside[:, :2].min() >= 0 and (inside[:, :2].max(0) < (right - left, bottom - top)).all():
            kept[index] = inside
    # these are nearly whole frames where the face is large, and all of a video are wanted for compression
    cut_out = (picture[top:bottom, left:right] for index, picture in frames(path, every) if index in kept)
    return Footage(path.stem, Reel(cut_out), list(kept.values()))


def videos(clips: Sequence[Footage], families: Sequence[str] = FAMILIES) -> Iterator[Suspects]:
    """Each video as it is and of each family; all frames get the same draws, so that a fake stands still."""
    for number, clip in enumerate(clips):
        yield Suspects("video", REAL, clip.pictures, clip.points, [clip.name] * len(clip.pictures), True)
        other = clips[(number + 1) % len(clips)]
        donor = Face(other.pictures[0], other.points[0], np.zeros(4, np.float32), other.name)
        for family in families:
            if family == "swap" and other is clip:
                continue
            pictures = Reel(
                make(family, generator(family, clip.name), picture, points, donor)
                for picture, points in zip(clip.pictures, clip.points, strict=True)
            )
            yield Suspects("video", family, pictures, clip.points, [clip.name] * len(pictures), True)


def own_output(
    animator: Animator,
    finder: FaceFinder,
    pack: Pack,
    clips: Sequence[Footage],
    *,
    portraits: int,
    split: str = "val",
    length: int = 6,
) -> Iterator[Suspects]:
    """Portraits of the pack's split, and each video's first frame, moved by videos with relative motion.

    Each by one video, ``length`` frames spread over it; outputs in which no face is found are left out.
    """
    drivers = [_spread(clip, length) for clip in clips]
    for driver in drivers:
        crops = [_crop(animator, *of) for of in zip(driver.pictures, driver.points, strict=True)]
        yield _found(finder, "own output", REAL, crops, driver.name)
    chosen = pack.indices(split)
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(portraits, len(chosen))).astype(int)]
    sources: list[tuple[str, str, Picture]] = []
    for index in chosen:
        face = pack[int(index)]
        sources.append(
            ("own_portraits", pack.name(int(index)), _crop(animator, face.picture, face.points[list(USED)]))
        )
    yield _found(
        finder, "own output", REAL, [crop for *_, crop in sources], *[name for _, name, _ in sources]
    )
    for clip in clips:
        sources.append(("own_people", clip.name, _crop(animator, clip.pictures[0], clip.points[0])))
    for number, (family, name, crop) in enumerate(sources):
        # the videos' people come last, and each is moved by another one's video
        driver = drivers[(number - len(chosen) + 1 if family == "own_people" else number) % len(drivers)]
        if driver.name != name:
            yield _found(
                finder,
                "own output",
                family,
                _animate(animator, crop, driver),
                f"{name} moved by {driver.name}",
            )


def _crop(animator: Animator, picture: Picture, points: Points) -> Picture:
    return animator.crop(picture, points[:, :2])  # what is packed and tracked has depth


def _animate(animator: Animator, source_crop: Picture, driver: Footage) -> list[Picture]:
    source, encoded = animator.motion(source_crop), animator.encode(source_crop)
    window = driver.points[0]  # it stays, so that the head moves in it
    motions = [animator.motion(_crop(animator, picture, window)) for picture in driver.pictures]
    return [
        animator.render(encoded, source, relative_motion(source, motion, motions[0])) for motion in motions
    ]


def _found(finder: FaceFinder, group: str, family: str, pictures: Sequence[Picture], *names: str) -> Suspects:
    """Those in which a face is found, with its points; one name for all is a video's."""
    moving = len(names) == 1
    points = [finder.points(picture) for picture in pictures]
    all_names = list(names) * len(pictures) if moving else list(names)
    kept = [index for index, of in enumerate(points) if of is not None]
    return Suspects(
        group,
        family,
        [pictures[index] for index in kept],
        [of for of in points if of is not None],
        [all_names[index] for index in kept],
        moving,
    )


def _spread(clip: Footage, length: int) -> Footage:
    chosen = np.linspace(0, len(clip.pictures) - 1, min(length, len(clip.pictures))).astype(int)
    return Footage(clip.name, [clip.pictures[i] for i in chosen], [clip.points[i] for i in chosen])


def face_colour(picture: Picture, points: Points) -> NDArray[np.float32]:
    """Mean L*a*b* of the middle of the face."""
    used = points[list(USED), :2]
    low, high = used.min(0), used.max(0)
    left, top = np.maximum(low + 0.25 * (high - low), 0).astype(int)
    right, bottom = (high - 0.25 * (high - low)).astype(int) + 1
    middle = cv2.cvtColor(picture[top:bottom, left:right], cv2.COLOR_BGR2LAB)
    return middle.reshape(-1, 3).mean(0).astype(np.float32)


def most_alike(colours: Sequence[NDArray[np.float32]]) -> list[int]:
    """For each the other one that is nearest."""
    stacked = np.stack(colours)
    distances = np.square(stacked[:, None] - stacked[None]).sum(2)
    np.fill_diagonal(distances, np.inf)
    return [int(index) for index in distances.argmin(1)]
