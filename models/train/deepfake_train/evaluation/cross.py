"""Portraits moved by others, as the element does it: with relative motion from the first frame of a clip on.

There is no truth to compare pictures with. What can be told is how far mouth and eyes open and the head turns
beside the driver's, whether it is still the person of the portrait, and how sharp the face is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

from ..animate import Animator, X2FaceAnimator, puppet
from ..faces import FaceFinder, Picture, face_square, square
from ..picture_file import read_picture
from . import expressions, pictures
from .clips import Clip
from .identity import identity_distance
from .judge import OPENINGS, Judge, Tally, overall
from .tables import number, table

NAMES = {
    **OPENINGS,
    "turn_gain": ("turn of the head: gain", 3),
    "turn_correlation": ("turn of the head: correlation", 3),
    "identity": ("identity distance to the portrait", 3),
    "sharpness": ("sharpness of the face, part of the portrait's", 3),
    "no_face": ("predictions without a face, part", 3),
}
"""Names of the figures in tables, and their digits."""

PACK = ".npz"


class Portrait(NamedTuple):
    """A picture as the model wants it."""

    name: str
    crop: Picture


def read_portraits(
    paths: Sequence[Path], finder: FaceFinder, crop: dict[str, Any], size: int, most: int
) -> list[Portrait]:
    """Of pictures, and of the part of packs of ``prepare stills`` that is kept for tests; ``most`` of all of
    them, evenly. ``crop`` is the section of a manifest.

    Raises ``ValueError`` for a picture without a face that can be found, and if there is none at all.
    """
    named: list[tuple[str, Picture]] = []
    for path in paths:
        named += _of_pack(path) if path.suffix == PACK else [(path.name, read_picture(path))]
    if not named:
        raise ValueError("the packs hold no portraits for tests")
    chosen = np.linspace(0, len(named) - 1, min(most, len(named))).astype(int)
    return [_cut(name, picture, finder, crop, size) for name, picture in (named[index] for index in chosen)]


def _of_pack(path: Path) -> list[tuple[str, Picture]]:
    from ..training.fomm.stills import read_stills

    pixels = read_stills(path, "test").pictures.numpy().transpose(0, 2, 3, 1)[..., ::-1]
    return [(f"{path.name} {index}", np.ascontiguousarray(one)) for index, one in enumerate(pixels)]


def _cut(name: str, picture: Picture, finder: FaceFinder, crop: dict[str, Any], size: int) -> Portrait:
    points = finder.points(picture)
    if points is None:
        raise ValueError(f"{name}: no face in it")
    place = face_square(points.min(0), points.max(0), crop)
    return Portrait(name, square(picture, *place, size)[0])


def cross_reenactment(
    animator: Animator | X2FaceAnimator, judge: Judge, portraits: Sequence[Portrait], clips: Sequence[Clip]
) -> dict[str, float]:
    """Figures over all portraits moved by all clips of two frames and more; every pair counts the same."""
    tallies = []
    for portrait in track(portraits, "portraits"):
        still = judge.glance(portrait.crop)
        if still.points is None:  # it would count as a portrait that was moved
            raise ValueError(f"{portrait.name}: no face in the part of it that the model takes")
        face = expressions.face_region(still.points, portrait.crop.shape[0])
        for clip in clips:
            if len(clip.frames) < 2:
                continue
            tally = Tally()
            reference, *driving = clip.frames
            move = puppet(animator, portrait.crop, reference.crop)
            for frame in driving:
                made = move(frame.crop)
                seen = judge.glance(made)
                tally.add("no_face", float(seen.points is None))
                if seen.points is None:
                    continue
                found = expressions.face_region(seen.points, made.shape[0])
                tally.add("sharpness", pictures.sharpness(found.of(made), face.of(portrait.crop)))
                tally.follow(seen.points, frame.points)
                if seen.embedding is not None and still.embedding is not None:
                    tally.add("identity", identity_distance(seen.embedding, still.embedding))
            tallies.append(tally)
    return overall(tallies, NAMES)


def markdown(results: dict[str, Any]) -> list[str]:
    """The lines for a model card, out of the results of `evaluate_fomm`."""
    figures = results["cross"]
    rows = [[title, number(figures[key], digits)] for key, (title, digits) in NAMES.items() if key in figures]
    return [
        f"{results['portraits']} portraits moved by each clip, relative motion from its first frame on:",
        "",
        table(["", results["model"]], rows),
    ]
