"""``portrait`` and ``animate``: pictures to look at."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands
from .numbers import positive


def _portrait(arguments: argparse.Namespace) -> None:
    from ..average_portrait import write_portrait

    write_portrait(arguments.pictures, arguments.zoo, arguments.out)


def _animate(arguments: argparse.Namespace) -> None:
    from ..animate import animate_sheet

    models = arguments.model or ["fomm-lite"]
    pictures = (arguments.portrait, arguments.video, arguments.out)
    animate_sheet(arguments.zoo, models, *pictures, every=arguments.every)


def add(commands: Commands) -> None:
    """Adds the commands."""
    portrait = commands.add_parser("portrait", help="the average of several portraits")
    portrait.add_argument("pictures", type=Path, nargs="+")
    portrait.add_argument("--zoo", type=Path, required=True)
    portrait.add_argument("--out", type=Path, required=True)
    portrait.set_defaults(run=_portrait)

    animate = commands.add_parser("animate", help="a contact sheet of a portrait moved by a video")
    animate.add_argument("--zoo", type=Path, required=True)
    animate.add_argument(
        "--model", action="append", help="may be given again, for more rows; left out: fomm-lite"
    )
    animate.add_argument("--every", type=positive, default=24, metavar="FRAMES")
    animate.add_argument("--portrait", type=Path, required=True)
    animate.add_argument("--video", type=Path, required=True)
    animate.add_argument("--out", type=Path, required=True)
    animate.set_defaults(run=_animate)
