"""What pictures went through before a detector sees them: nothing, JPEG, or H.264 at several qualities.

H.264 is that of GStreamer's ``x264enc``, which the project needs anyway, in a pipeline of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from functools import cache

import cv2
import numpy as np

from ..faces import Picture

LEVELS = ("none", "jpeg-75", "h264-23", "h264-28", "h264-35")
"""Kind and quality of the encoder: JPEG quality, or H.264's constant rate factor."""

LONGEST_GROUP = 250  # x264's default number of frames from one key frame to the next


def compress(pictures: Sequence[Picture], level: str, *, moving: bool) -> Iterator[Picture]:
    """Pictures, encoded and decoded, one after the other: those of a long video are too many for memory.

    ``moving``: they are the frames of a video, of one size. Else each is coded for itself, and for H.264 they
    are enlarged to a common size by repeating edges, as starting an encoder for each would take long.
    """
    kind, _, quality = level.partition("-")
    if kind == "none" or not pictures:
        return iter(pictures)
    if kind == "jpeg":
        return (jpeg(picture, int(quality)) for picture in pictures)
    if kind == "h264":
        return h264(pictures, int(quality), group=LONGEST_GROUP if moving else 1)
    raise ValueError(f"no level '{level}'")


def checked(level: str) -> str:
    """The same; raises ``ValueError`` if there is no such level."""
    kind, _, quality = level.partition("-")
    most = {"jpeg": 100, "h264": 51}.get(kind, -1)
    if level != "none" and not (quality.isdecimal() and int(quality) <= most):
        raise ValueError(f"no level '{level}': none, jpeg-0 to jpeg-100, h264-0 to h264-51")
    return level


@cache
def _has_h264() -> bool:
    """Whether GStreamer is there with all that the pipeline needs."""
    if shutil.which("gst-launch-1.0") is None or shutil.which("gst-inspect-1.0") is None:
        return False
    return all(
        subprocess.run(["gst-inspect-1.0", "--exists", element], check=False).returncode == 0
        for element in ("rawvideoparse", "x264enc", "h264parse", "avdec_h264")
    )


def available(level: str) -> bool:
    """Whether the machine has what the level needs."""
    return not level.startswith("h264") or _has_h264()


def jpeg(picture: Picture, quality: int) -> Picture:
    """Colours at half the resolution, as OpenCV does by default."""
    good, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(content, cv2.IMREAD_COLOR) if good else None
    if decoded is None:
        raise ValueError("a picture cannot be encoded as JPEG")
    return decoded.astype(np.uint8)


def h264(pictures: Sequence[Picture], crf: int, *, group: int) -> Iterator[Picture]:
    """4:2:0, preset medium, constant rate factor; ``group`` frames from one key frame to the next.

    Smaller pictures are enlarged to the size of the others by repeating edges. What goes in and what comes
    out lies in temporary files.
    """
    height, width = np.max([picture.shape[:2] for picture in pictures], axis=0)
    even = int(height + height % 2), int(width + width % 2)  # 4:2:0 halves both
    raw = f"format=bgrx width={even[1]} height={even[0]} framerate=25/1"
    pipeline = (
        f"fdsrc fd=0 ! rawvideoparse {raw} ! videoconvert ! video/x-raw,format=I420 ! "
        f"x264enc pass=qual quantizer={crf} speed-preset=medium threads=1 key-int-max={group} ! "
        "h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=BGRx ! fdsink fd=1"
    )
    shape = (len(pictures), *even, 4)
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as decoded:
        for picture in pictures:
            # rows of 4-byte pixels need no padding
            given.write(cv2.cvtColor(_pad(picture, *even), cv2.COLOR_BGR2BGRA).tobytes())
        # Not through a pipe that is filled meanwhile: x264 sees what GStreamer leaves beside the rows of I420
        # where the width is no multiple of 8, and with a pipe that hangs on how it was filled.
        given.seek(0)
        ran = subprocess.run(
            ["gst-launch-1.0", "-q", *pipeline.split()],
            stdin=given,
            stdout=decoded,
            stderr=subprocess.PIPE,
            check=False,
        )
        if ran.returncode or os.fstat(decoded.fileno()).st_size != np.prod(shape):
            raise RuntimeError(f"H.264 failed: {ran.stderr.decode(errors='replace').strip()}")
        frames = np.memmap(decoded, np.uint8, mode="r", shape=shape)
    # copies, as each picture that lies in the file would keep it open
    return (
        np.array(frame[: picture.shape[0], : picture.shape[1], :3])
        for frame, picture in zip(frames, pictures, strict=True)
    )


def _pad(picture: Picture, height: int, width: int) -> Picture:
    below, right = height - picture.shape[0], width - picture.shape[1]
    return cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE).astype(np.uint8)
