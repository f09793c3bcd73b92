"""Folders of videos to square clips of one face each, after the preparation of VoxCeleb for motion models.

A clip is a folder with ``frames.npy``, uint8 [T, S, S, 3] RGB, and ``landmarks.npy``, float32 [T, 468, 2] in
pixels of those frames (0 is the middle of the first pixel). Arrays as they are, rather than a codec: nothing
is lost, and training reads single frames out of a mapped file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..faces import FaceFinder, Picture, square
from ..video import Format, frames, video_format
from .files import find_files
from .metadata import Metadata, fingerprint, split_of
from .observation import CUT_OFF, Limits, Observation, observe
from .tracks import Cutting, Run, Square, runs, square_about

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m4v"}
FRAMES, LANDMARKS = "frames.npy", "landmarks.npy"

Progress = Callable[[int], None]
"""Is told the number of frames that have been gone through since it was last told."""


@dataclass(frozen=True)
class Preparation:
    """What is made of videos."""

    size: int = 256
    licence: str = "unknown"
    split_by: str = "file"
    """What stands for a person. ``file``: each video. ``folder``: each folder right below the given one, with
    all that is in it; the given one itself for videos that lie right in it; and of a single file that was
    given, the folder that it lies in."""
    held_out: float = 0.1
    limits: Limits = field(default_factory=Limits)
    cutting: Cutting = field(default_factory=Cutting)

    def settings(self) -> dict[str, Any]:
        """What all clips of a folder have in common; their licences may differ."""
        about = asdict(self)
        del about["licence"]
        limits, cutting = about.pop("limits"), about.pop("cutting")
        return about | limits | cutting


def find_videos(given: Sequence[Path]) -> list[tuple[Path, str]]:
    """Videos with their names; see `find_files`."""
    return find_files(given, SUFFIXES)


def prepare_video(
    video: Path,
    source: str,
    finder: FaceFinder,
    out: Path,
    metadata: Metadata,
    how: Preparation,
    progress: Progress = lambda _: None,
) -> bool:
    """Writes the clips of a video below ``out`` and what was done to the metadata; whether it could be read.

    One that could not is not written down: it may be on its way, and is to be tried again.
    """
    dropped: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    identity = _identity(video, source, how.split_by)
    split = split_of(identity, how.held_out)
    clips: list[dict[str, Any]] = []
    total = 0
    try:
        about = video_format(video)
    except OSError:
        return False

    def counted(observations: Iterable[Observation]) -> Iterator[Observation]:
        nonlocal total
        for seen in observations:
            total += 1
            progress(1)
            yield seen

    room, seen = min(about.height, about.width), counted(observe(video, finder, how.limits))
    # While a run is followed its square is not known, so its frames are read once more. Runs come in the
    # order of the video: one further reading is enough for them all.
    with closing(frames(video)) as pictures:
        for run in runs(seen, room, how.cutting, dropped, ends):
            where = square_about(run, (about.height, about.width), how.cutting)
            if where is None:
                dropped[CUT_OFF] += len(run.points)
                continue
            # with the folders of the source: were they joined by a character, two sources might get one name
            name = f"{split}/{source}-{len(clips):03}"
            write_clip(pictures, run, where, out / name, how.size)
            clips.append(
                {"clip": name, "source": source, "identity": identity, **_describe(run, where, about, how)}
            )
    if not total:
        return False
    metadata.add(
        clips,
        {
            "source": source,
            "fingerprint": fingerprint(video),
            "frames": total,
            "clips": len(clips),
            "kept": sum(clip["frames"] for clip in clips),
            "dropped": dict(dropped),
            "ends": dict(ends),
        },
    )
    return True


def write_clip(
    pictures: Iterator[tuple[int, Picture]], run: Run, where: Square, folder: Path, size: int
) -> None:
    """Takes the (number, picture) of a video up to the last one of the run, and leaves those after it."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = np.lib.format.open_memmap(
        folder / f"{FRAMES}.part", mode="w+", dtype=np.uint8, shape=(len(run.points), size, size, 3)
    )
    scale = where.side / size
    corner = np.array((where.x, where.y)) - scale * (size - 1) / 2
    for index, picture in pictures:
        number = index - run.first
        if 0 <= number < len(run.points):
            kept[number] = square(picture, where.x, where.y, where.side, size)[0][..., ::-1]
        if number + 1 >= len(run.points):
            break
    kept.flush()
    del kept
    landmarks = (np.stack(run.points) - corner) / scale
    np.save(folder / LANDMARKS, landmarks.astype(np.float32))
    (folder / f"{FRAMES}.part").replace(folder / FRAMES)  # last: it says that the clip is whole


def summary(metadata: Metadata) -> list[tuple[str, int, int]]:
    """(what became of frames, how many, in how many videos), the kept ones first, then by number."""
    videos = metadata.of("video")
    dropped: Counter[str] = Counter()
    concerned: Counter[str] = Counter()
    for video in videos:
        dropped.update(video["dropped"])
        concerned.update(video["dropped"].keys())
    kept = [video["kept"] for video in videos if video["kept"]]
    return [
        ("kept", sum(kept), len(kept)),
        *((reason, count, concerned[reason]) for reason, count in dropped.most_common()),
    ]


def _identity(video: Path, source: str, split_by: str) -> str:
    """What stands for the person in a video."""
    if split_by == "file":
        return source
    # a person may have folders in theirs, such as VoxCeleb's of videos; what was given stands in front
    folders = PurePosixPath(source).parts[:-1][:2]
    # a file that was given by itself has no folder in its name
    return "/".join(folders) or video.resolve().parent.name


def _describe(run: Run, where: Square, about: Format, how: Preparation) -> dict[str, Any]:
    sizes = [float(np.ptp(points, axis=0).max()) for points in run.points]
    return {
        "first_frame": run.first,
        "frames": len(run.points),
        "fps": round(about.fps, 3),
        "square": [round(value, 2) for value in where],
        "size": how.size,
        "mean_face": round(float(np.mean(sizes)), 1),
        "licence": how.licence,
    }
