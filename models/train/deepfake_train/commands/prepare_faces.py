"""``prepare faces``, ``prepare reenacted`` and ``prepare compressed``: what ``train fwa`` reads."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import Commands
from .numbers import positive

if TYPE_CHECKING:
    import numpy as np

    from ..fakes.pack import Face
    from ..fakes.prepared import Packed


def _pack(arguments: argparse.Namespace) -> None:
    from rich.progress import track

    from ..faces import FaceFinder
    from ..fakes.collect import collect
    from ..fakes.pack import write_pack
    from ..preparation.files import refuse_missing

    refuse_missing(arguments.files)
    # now, not when all files have been gone through and there is nowhere to put the faces
    arguments.out.mkdir(parents=True, exist_ok=True)
    found, left_out, unreadable = collect(
        track(sorted(set(arguments.files)), "files"),
        FaceFinder(arguments.zoo),
        every=arguments.every,
        hold_out=arguments.hold_out,
        source=arguments.source,
        hold_out_by=arguments.hold_out_by,
    )
    reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "none"
    if unreadable:
        as_given = [path for path in arguments.files if path in unreadable]
        reasons += f"; {len(as_given)} files not readable: {_listed(as_given)}"
    if not found:
        raise SystemExit(f"no face in {len(arguments.files)} files; left out: {reasons}")
    write_pack(arguments.out, found)
    held_out = sum(split == "val" for _, split, _ in found)
    print(f"{len(found)} faces, {held_out} of them held out; left out: {reasons}")


def _reenact(arguments: argparse.Namespace) -> None:
    from rich.progress import track

    from ..animate import Animator
    from ..faces import FaceFinder
    from ..fakes.reenacted import prepare, read_drivers
    from ..manifest import FILE_NAME, sha256
    from ..preparation.files import refuse_missing
    from ..preparation.metadata import fingerprint

    videos = {"train": arguments.drivers, "val": arguments.held_out_drivers}
    refuse_missing([*videos["train"], *videos["val"]])
    splits = _splits(arguments)
    finder = FaceFinder(arguments.zoo)
    animator = Animator(arguments.zoo / arguments.model, threads=1)
    # of both splits before the first pair: a driver that is of no use is told before hours of work
    drivers = {
        split: read_drivers(track(videos[split], f"{split}: drivers"), finder, animator, arguments.every)
        for split in splits
    }

    def pairs(portraits: list[Face], split: str, numbers: range) -> Iterator[list[Packed]]:
        return prepare(portraits, drivers[split], animator, finder, arguments.seed, numbers, split)

    settings = {
        "model": sha256(arguments.zoo / arguments.model / FILE_NAME),
        "every": arguments.every,
        **{f"{split}_drivers": [fingerprint(video) for video in videos[split]] for split in videos},
    }
    _write_pairs(arguments, splits, settings, pairs)


def _compress(arguments: argparse.Namespace) -> None:
    from .. import fakes
    from ..fakes.prepared import Make, prepare

    def of_family(family: str) -> Make:
        return lambda rng, face: face._replace(picture=fakes.make(family, rng, face.picture, face.points))

    families = {family: of_family(family) for family in fakes.TRAINED}

    def shoot(rng: np.random.Generator, face: Face) -> Face:
        return face._replace(picture=fakes.shoot(rng, face.picture, face.points))

    def pairs(faces: list[Face], split: str, numbers: range) -> Iterator[list[Packed]]:
        return prepare(faces, families, shoot, arguments.seed, numbers, split)

    _write_pairs(arguments, _splits(arguments), {"families": list(families)}, pairs)


def _splits(arguments: argparse.Namespace) -> dict[str, int]:
    """How many pairs are to be made of each split that there are faces of.

    Ends the command where it could not be brought to its end: making the pairs takes long.
    """
    from ..evaluation.compression import available
    from ..fakes.pack import Pack

    if arguments.compressed > 0 and not available("h264"):
        raise SystemExit("--compressed needs gst-launch-1.0 with x264 and libav; without: --compressed 0")
    packs = [Pack(folder) for folder in arguments.pack]
    splits: dict[str, int] = {}
    for split, count in (("train", arguments.count), ("val", arguments.held_out)):
        if count and any(len(pack.indices(split)) for pack in packs):
            splits[split] = count
        elif count:
            print(f"{split}: no faces of that split in {_listed(arguments.pack)}, so it is left out")
    if not splits:
        raise SystemExit("no pairs to make")
    arguments.out.mkdir(parents=True, exist_ok=True)
    return splits


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _write_pairs(
    arguments: argparse.Namespace,
    splits: Mapping[str, int],
    settings: Mapping[str, Any],
    make: Callable[[list[Face], str, range], Iterator[list[Packed]]],
) -> None:
    from rich.progress import track

    from ..fakes.pack import Pack, write_pack
    from ..fakes.parts import Parts
    from ..fakes.prepared import through_h264

    packs = [Pack(folder) for folder in arguments.pack]
    common = {"seed": arguments.seed, "packs": [pack.digest for pack in packs]}
    parts = Parts(arguments.out, common | dict(settings))
    packed: list[Packed] = []
    for split, count in splits.items():
        faces = [pack[int(index)] for pack in packs for index in pack.indices(split)]
        made = parts.make(split, count, partial(make, faces, split))
        before = len(packed)
        for pair in track(made, f"{split}: {len(faces)} faces", total=count):
            packed += pair
        done = (len(packed) - before) // 2
        print(f"{split}: {done} pairs, {count - done} left out for want of a face in the fake")
    if packed:
        write_pack(arguments.out, through_h264(packed, arguments.seed, arguments.compressed), quality=None)
    parts.remove()
    if not packed:
        raise SystemExit("no face was found in any of the fakes: nothing is written")


def add(kinds: Commands) -> None:
    """Adds both to what can be prepared."""
    pack = kinds.add_parser("faces", help="a pack of faces out of pictures and videos, to make fakes from")
    pack.add_argument("files", type=Path, nargs="+")
    pack.add_argument("--zoo", type=Path, required=True)
    pack.add_argument("--out", type=Path, required=True)
    pack.add_argument("--source", required=True, help="name of the data set")
    pack.add_argument(
        "--every", type=positive, default=10, metavar="N", help="take every n-th frame of a video"
    )
    pack.add_argument(
        "--hold-out", type=int, default=5, metavar="N", help="every n-th file is for validation; 0: none"
    )
    pack.add_argument(
        "--hold-out-by",
        choices=("file", "folder"),
        default="file",
        help="folder: every n-th folder of files is, for folders that hold all there is of a person; by file "
        "pictures of one person may be in both",
    )
    pack.set_defaults(run=_pack)

    reenact = kinds.add_parser("reenacted", help="fakes that our own animator makes, with real twins")
    _add_pairs(reenact, count=3000, held_out=300, compressed=0.5)
    reenact.add_argument("--drivers", type=Path, nargs="+", required=True, help="videos")
    reenact.add_argument("--held-out-drivers", type=Path, nargs="+", required=True, help="videos")
    reenact.add_argument(
        "--every", type=positive, default=3, metavar="N", help="take every n-th frame of a video"
    )
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
