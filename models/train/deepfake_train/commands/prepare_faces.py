"""``prepare faces``, ``prepare reenacted`` and ``prepare compressed``: what ``train fwa`` reads."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from . import Commands

if TYPE_CHECKING:
    import numpy as np

    from ..fakes.pack import Face
    from ..fakes.prepared import Packed


def _pack(arguments: argparse.Namespace) -> None:
    from ..faces import FaceFinder
    from ..fakes.collect import collect
    from ..fakes.pack import write_pack

    found, left_out = collect(
        sorted(arguments.files),
        FaceFinder(arguments.zoo),
        every=arguments.every,
        hold_out=arguments.hold_out,
        source=arguments.source,
    )
    if not found:
        raise SystemExit(f"no face in {len(arguments.files)} files: {left_out}")
    write_pack(arguments.out, found)
    held_out = sum(split == "val" for _, split, _ in found)
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none"
    print(f"{len(found)} faces, {held_out} of them held out; left out: {reasons}")


def _reenact(arguments: argparse.Namespace) -> None:
    from ..animate import Animator
    from ..faces import FaceFinder
    from ..fakes.reenacted import prepare, read_drivers

    finder = FaceFinder(arguments.zoo)
    animator = Animator(arguments.zoo / arguments.model, threads=1)

    def pairs(portraits: list[Face], split: str, count: int) -> Iterator[list[Packed]]:
        videos = arguments.drivers if split == "train" else arguments.held_out_drivers
        drivers = read_drivers(videos, finder, animator, arguments.every)
        return prepare(portraits, drivers, animator, finder, arguments.seed, count, split)

    _write_pairs(arguments, pairs)


def _compress(arguments: argparse.Namespace) -> None:
    from .. import fakes
    from ..fakes.prepared import Make, prepare

    def of_family(family: str) -> Make:
        return lambda rng, face: face._replace(picture=fakes.make(family, rng, face.picture, face.points))

    families = {family: of_family(family) for family in fakes.TRAINED}

    def shoot(rng: np.random.Generator, face: Face) -> Face:
        return face._replace(picture=fakes.shoot(rng, face.picture, face.points))

    def pairs(faces: list[Face], split: str, count: int) -> Iterator[list[Packed]]:
        return prepare(faces, families, shoot, arguments.seed, count, split)

    _write_pairs(arguments, pairs)


def _write_pairs(
    arguments: argparse.Namespace, make: Callable[[list[Face], str, int], Iterator[list[Packed]]]
) -> None:
    from rich.progress import track

    from ..fakes.pack import Pack, write_pack
    from ..fakes.prepared import through_h264

    packed: list[Packed] = []
    for split, count in (("train", arguments.count), ("val", arguments.held_out)):
        faces = [pack[int(index)] for pack in map(Pack, arguments.pack) for index in pack.indices(split)]
        before = len(packed)
        for pair in track(make(faces, split, count), f"{split}: {len(faces)} faces", total=count):
            packed += pair
        done = (len(packed) - before) // 2
        print(f"{split}: {done} pairs, {count - done} left out for want of a face in the fake")
    packed = through_h264(packed, arguments.seed, arguments.compressed)
    write_pack(arguments.out, packed, quality=None)


def add(kinds: Commands) -> None:
    """Adds both to what can be prepared."""
    pack = kinds.add_parser("faces", help="a pack of faces out of pictures and videos, to make fakes from")
    pack.add_argument("files", type=Path, nargs="+")
    pack.add_argument("--zoo", type=Path, required=True)
    pack.add_argument("--out", type=Path, required=True)
    pack.add_argument("--source", required=True, help="name of the data set")
    pack.add_argument("--every", type=int, default=10, metavar="N", help="take every n-th frame of a video")
    pack.add_argument(
        "--hold-out", type=int, default=5, metavar="N", help="every n-th file is for validation; 0: none"
    )
    pack.set_defaults(run=_pack)

    reenact = kinds.add_parser("reenacted", help="fakes that our own animator makes, with real twins")
    _add_pairs(reenact, count=3000, held_out=300, compressed=0.5)
    reenact.add_argument("--drivers", type=Path, nargs="+", required=True, help="videos")
    reenact.add_argument("--held-out-drivers", type=Path, nargs="+", required=True, help="videos")
    reenact.add_argument("--every", type=int, default=3, metavar="N", help="take every n-th frame of a video")
    reenact.add_argument("--zoo", type=Path, required=True)
    reenact.add_argument("--model", default="fomm-lite")
    reenact.set_defaults(run=_reenact)

    compress = kinds.add_parser("compressed", help="fakes of the other families through a real video encoder")
    _add_pairs(compress, count=1500, held_out=0, compressed=1.0)
    compress.set_defaults(run=_compress)


def _add_pairs(parser: argparse.ArgumentParser, *, count: int, held_out: int, compressed: float) -> None:
    parser.add_argument("--pack", type=Path, action="append", required=True, help="may be given again")
    parser.add_argument("--count", type=int, default=count, help="pairs for training")
    parser.add_argument("--held-out", type=int, default=held_out, help="pairs for validation")
    parser.add_argument(
        "--compressed", type=float, default=compressed, metavar="SHARE", help="through H.264, by GStreamer"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
