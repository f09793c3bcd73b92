"""``metadata.jsonl``: a line for every clip, and after them one for the video that they are from.

A video whose line is there is done. The clips of one that was interrupted are made again. The line of a video
has a fingerprint of the file, by which another file of the same name is known.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE_NAME = "metadata.jsonl"
TRAIN, HELD_OUT = "train", "held-out"
FINGERPRINT_BYTES = 1 << 16


def split_of(identity: str, held_out: float) -> str:
    """The same for an identity whatever else there is, so that a set can grow."""
    return HELD_OUT if zlib.crc32(identity.encode()) % 1000 < 1000 * held_out else TRAIN


def fingerprint(path: Path) -> str:
    """What tells a file from another one: size and beginning, as videos are too large to be read for it."""
    with path.open("rb") as file:
        beginning = file.read(FINGERPRINT_BYTES)
    return hashlib.sha256(b"%d/%b" % (path.stat().st_size, beginning)).hexdigest()[:16]


class Metadata:
    """The file in a folder of clips; opened anew for every video, so that nothing is lost at an end."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        lines = list(self._read())
        done = {line["source"] for line in lines if line["kind"] == "video"}
        self._lines = [line for line in lines if line["source"] in done]
        if len(self._lines) != len(lines):
            self._path.write_text("".join(map(_line, self._lines)), encoding="utf-8")

    def is_done(self, source: str, path: Path) -> bool:
        """Whether the video has been gone through.

        Raises ``ValueError`` if that was another file of the same name.
        """
        for line in self.of("video"):
            if line["source"] != source:
                continue
            if line.get("fingerprint") not in (None, fingerprint(path)):
                raise ValueError(
                    f"{path}: '{source}' stands in {self._path} for another file already; rename it or the "
                    "folder that was given, or take those lines out to have it made anew"
                )
            return True
        return False

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The lines of that kind."""
        return [line for line in self._lines if line["kind"] == kind]

    def add(self, clips: list[dict[str, Any]], video: dict[str, Any]) -> None:
        """A video that is done, with its clips."""
        lines = [*({"kind": "clip", **clip} for clip in clips), {"kind": "video", **video}]
        self._lines += lines
        with self._path.open("a", encoding="utf-8") as file:
            file.write("".join(map(_line, lines)))

    def _read(self) -> Iterator[dict[str, Any]]:
        if not self._path.exists():
            return
        for text in self._path.read_text(encoding="utf-8").splitlines():
            try:
                yield json.loads(text)
            except json.JSONDecodeError:  # the last line of a run that was ended while it wrote
                return


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
