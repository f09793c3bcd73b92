"""``prepare``: videos and pictures to what training reads."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from . import Commands, prepare_faces
from .numbers import positive

if TYPE_CHECKING:
    from rich.console import Console


def _prepare_videos(arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from ..faces import FaceFinder
    from ..preparation.metadata import Metadata, agree
    from ..preparation.observation import Limits
    from ..preparation.tracks import Cutting
    from ..preparation.videos import Preparation, find_videos, prepare_video, summary
    from ..video import video_format

    how = Preparation(
        size=arguments.size,
        licence=arguments.licence,
        split_by=arguments.split_by,
        held_out=arguments.held_out,
        limits=Limits(smallest=arguments.smallest, presence=arguments.presence),
        cutting=Cutting(shortest=arguments.shortest, longest=arguments.longest),
    )
    found = find_videos(arguments.videos)
    _refuse_none("videos", found, arguments.videos)
    arguments.out.mkdir(parents=True, exist_ok=True)
    agree(arguments.out, how.settings())
    metadata, finder = Metadata(arguments.out), FaceFinder(arguments.zoo, threads=arguments.threads)
    todo = [(path, source) for path, source in found if not metadata.is_done(source, path)]
    unreadable: list[str] = []
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        overall = progress.add_task("videos", total=len(found), completed=len(found) - len(todo))
        for path, source in todo:
            try:
                length = video_format(path).frames
            except OSError:
                length = 0
            task = progress.add_task(source, total=length or None)
            readable = prepare_video(
                path,
                source,
                finder,
                arguments.out,
                metadata,
                how,
                partial(progress.advance, task),
            )
            if not readable:
                unreadable.append(str(path))
            progress.remove_task(task)
            progress.advance(overall)
    _print_table(console, ("what became of them", "frames", "videos"), summary(metadata))
    console.print(f"{len(metadata.of('clip'))} clips in all")
    if unreadable:
        report = f"{len(unreadable)} of {len(found)} videos are not readable: {', '.join(unreadable)}"
        if len(unreadable) == len(found):
            raise SystemExit(report)
        print(f"{report}; they will be tried again when the command is given again")


def _prepare_stills(arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.progress import track

    from ..faces import FaceFinder
    from ..preparation.head import read_head
    from ..preparation.stills import find_pictures, prepare_stills

    console = Console()
    found = find_pictures(arguments.pictures)
    _refuse_none("pictures", found, arguments.pictures)
    # now, not when all pictures have been gone through and there is nowhere to put them
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    counts = prepare_stills(
        track(found, "pictures", console=console),
        FaceFinder(arguments.zoo, threads=arguments.threads),
        read_head(arguments.head),
        arguments.out,
        size=arguments.size,
        licence=arguments.licence,
    )
    _print_table(console, ("what became of them", "pictures"), counts)
    if not dict(counts)["kept"]:
        raise SystemExit(f"none of {len(found)} pictures was kept, so there is no {arguments.out}")


def _refuse_none(kind: str, found: Sequence[object], given: Sequence[Path]) -> None:
    if not found:
        raise SystemExit(f"no {kind} in {', '.join(map(str, given))}")


def _print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    from rich.table import Table

    table = Table(*header)
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def add(commands: Commands) -> None:
    """Adds ``prepare`` and what it prepares."""
    prepare = commands.add_parser("prepare", help="videos or pictures of people to training data")
    kinds = prepare.add_subparsers(required=True)
    videos = kinds.add_parser("videos", help="tracked, square clips; what is done already is skipped")
    videos.add_argument("videos", type=Path, nargs="+", metavar="FOLDER", help="or single files")
    videos.add_argument("--smallest", type=float, default=80, help="least side of a face, in pixels")
    videos.add_argument("--presence", type=float, default=0.8, help="how sure FaceMesh has to be, 0..1")
    videos.add_argument("--shortest", type=positive, default=64, help="least frames of a clip")
    videos.add_argument("--longest", type=positive, default=1024, help="most frames of a clip")
    videos.add_argument(
        "--split-by",
        choices=("file", "folder"),
        default="file",
        help="what stands for a person: each video, or each folder right below FOLDER with all that is in it "
        "(id00000 of VoxCeleb, s1 of GRID; for videos right in FOLDER, FOLDER itself)",
    )
    videos.add_argument("--held-out", type=float, default=0.1, help="part of the people kept from training")
    _add_common(videos, size=256)
    videos.set_defaults(run=_prepare_videos)

    stills = kinds.add_parser("stills", help="a pack of portraits with landmarks and pose")
    stills.add_argument("pictures", type=Path, nargs="+", metavar="FOLDER", help="or single files")
    stills.add_argument(
        "--head",
        type=Path,
        required=True,
        help="canonical_face_model.obj of MediaPipe, or a pack to take it from",
    )
    _add_common(stills, size=288)
    stills.set_defaults(run=_prepare_stills)
    prepare_faces.add(kinds)


def _add_common(parser: argparse.ArgumentParser, *, size: int) -> None:
    parser.add_argument("--zoo", type=Path, required=True, help="where the face networks are")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=positive, default=size, help="side of the pictures in pixels")
    parser.add_argument("--licence", default="unknown", help="of what is given, for the metadata")
    parser.add_argument("--threads", type=int, default=1)
