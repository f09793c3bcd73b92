"""``prepare faces`` and ``prepare reenacted``: what ``train fwa`` reads."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands


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
    from rich.progress import track

    from ..animate import Animator
    from ..faces import FaceFinder
    from ..fakes.pack import Face, Pack, write_pack
    from ..fakes.reenacted import prepare, read_drivers, through_h264

    finder = FaceFinder(arguments.zoo)
    animator = Animator(arguments.zoo / arguments.model, threads=1)
    packed: list[tuple[Face, str, str]] = []
    for split, count, videos in (
        ("train", arguments.count, arguments.drivers),
        ("val", arguments.held_out, arguments.held_out_drivers),
    ):
        portraits = [pack[int(index)] for pack in map(Pack, arguments.pack) for index in pack.indices(split)]
        drivers = read_drivers(videos, finder, animator, arguments.every)
        before = len(packed)
        made = prepare(portraits, drivers, animator, finder, arguments.seed, count, split)
        for pair in track(made, f"{split}: {len(portraits)} portraits", total=count):
            packed += pair
        done = (len(packed) - before) // 2
        print(f"{split}: {done} made, {count - done} left out for want of a face in them")
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
    reenact.add_argument(
        "--pack", type=Path, action="append", required=True, help="portraits; may be given again"
    )
    reenact.add_argument("--drivers", type=Path, nargs="+", required=True, help="videos")
    reenact.add_argument("--held-out-drivers", type=Path, nargs="+", required=True, help="videos")
    reenact.add_argument("--count", type=int, default=3000, help="pairs for training")
    reenact.add_argument("--held-out", type=int, default=300, help="pairs for validation")
    reenact.add_argument("--every", type=int, default=3, metavar="N", help="take every n-th frame of a video")
    reenact.add_argument(
        "--compressed", type=float, default=0.5, metavar="SHARE", help="through H.264, by GStreamer"
    )
    reenact.add_argument("--zoo", type=Path, required=True)
    reenact.add_argument("--model", default="fomm-lite")
    reenact.add_argument("--seed", type=int, default=1)
    reenact.add_argument("--out", type=Path, required=True)
    reenact.set_defaults(run=_reenact)
