"""Frames of video files, through OpenCV."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import cv2

from .faces import Picture


class Format(NamedTuple):
    """What a video says of itself; files are known to lie about the number of frames."""

    width: int
    height: int
    fps: float
    frames: int


def video_format(path: Path) -> Format:
    """Opens the file and closes it again."""
    capture = _open(path)
    width, height, fps, frames = (
        capture.get(what)
        for what in (
            cv2.CAP_PROP_FRAME_WIDTH,
            cv2.CAP_PROP_FRAME_HEIGHT,
            cv2.CAP_PROP_FPS,
            cv2.CAP_PROP_FRAME_COUNT,
        )
    )
    capture.release()
    return Format(int(width), int(height), float(fps) or 25.0, max(int(frames), 0))


def frames(path: Path, every: int = 1) -> Generator[tuple[int, Picture], None, None]:
    """(number, picture) of every n-th frame, from the first. Closing it closes the file."""
    capture, index = _open(path), 0
    try:
        while capture.grab():
            if index % every == 0:
                good, picture = capture.retrieve()
                if good:
                    yield index, picture.astype("uint8", copy=False)
            index += 1
    finally:
        capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    capture = cv2.VideoCapture(str(path))
    if not capture.isOpened():
        raise OSError(f"{path}: not a video that OpenCV can read")
    return capture
