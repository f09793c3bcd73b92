"""Pictures in files, through OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from .faces import Picture


class UnreadablePictureError(ValueError):
    """A file that is missing, or no picture that OpenCV can read."""


def read_picture(path: Path) -> Picture:
    """The picture in a file, turned as its EXIF data says; ``UnreadablePictureError`` if there is none."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        reason = "is no picture that can be read" if path.exists() else "is not there"
        raise UnreadablePictureError(f"{path} {reason}")
    return picture.astype(np.uint8)
