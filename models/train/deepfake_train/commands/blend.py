"""``blend``: weights between two motion models."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands


def _blend(arguments: argparse.Namespace) -> None:
    from ..training.fomm.weights import blend_files

    blend_files(
        arguments.start,
        arguments.tuned,
        arguments.out,
        motion=arguments.motion,
        painter=arguments.painter,
        kept=arguments.keep,
    )


def add(commands: Commands) -> None:
    """Adds ``blend``."""
    blend = commands.add_parser("blend", help="weights between a motion model and what was tuned from it")
    blend.add_argument("start", type=Path, help="what was given to train fomm --start")
    blend.add_argument("tuned", type=Path, help="weights that it wrote (fomm-fp16.pt)")
    blend.add_argument("--out", type=Path, required=True)
    blend.add_argument(
        "--motion", type=float, default=0.5, help="how far to go, 0..1, in what finds and moves"
    )
    blend.add_argument("--painter", type=float, default=0.5, help="and in what encodes and paints")
    blend.add_argument(
        "--keep",
        type=int,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEYPOINT",
        help="key-points that stay those of START: the ones that were begun anew (train fomm --renew)",
    )
    blend.set_defaults(run=_blend)
