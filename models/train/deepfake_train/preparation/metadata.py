"""``metadata.jsonl``: a line for every clip, and after them one for the video that they are from.

A video whose line is there is done. The clips of one that was interrupted are made again. The line of a video
has a fingerprint of the file, by which another file of the same name is known. ``settings.json`` beside it
has what all clips of the folder have in common.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE_NAME, SETTINGS = "metadata.jsonl", "settings.json"
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


class PreparationMismatchError(ValueError):
    """A folder of clips was begun with other settings."""


def agree(folder: Path, settings: Mapping[str, Any]) -> None:
    """Keeps the settings, which are plain data, in a folder of clips.

    Raises ``PreparationMismatchError`` if it was begun with other ones. What that preparation did not know of
    yet, such as all of them in a folder without the file, is taken to be the same.
    """
    path = folder / SETTINGS
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    asked = json.loads(json.dumps(settings))  # a tuple comes back as a list
    other = [
        f"{name.replace('_', '-')} {before[name]}, not {value}"
        for name, value in asked.items()
        if before.get(name, value) != value
    ]
    if other:
        raise PreparationMismatchError(
            f"{folder} was begun with other settings: {'; '.join(other)}; go on with those in {path}, "
            "or take another folder"
        )
    path.write_text(json.dumps(before | asked, indent=2) + "\n", encoding="utf-8")


class Metadata:
    """The file in a folder of clips; opened anew for every video, so that nothing is lost at an end."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        lines = list(self._read())
        done = {line["source"] for line in lines if line["kind"] == "video"}
        self._lines = [line for line in lines if line["source"] in done]
        self._videos = {line["source"]: line for line in self._lines if line["kind"] == "video"}
        if len(self._lines) != len(lines):
            self._path.write_text("".join(map(_line, self._lines)), encoding="utf-8")

    def is_done(self, source: str, path: Path) -> bool:
        """Whether the video has been gone through.

        Raises ``ValueError`` if that was another file of the same name.
        """
        line = self._videos.get(source)
        if line is not None and line.get("fingerprint") not in (None, fingerprint(path)):
            raise ValueError(
                f"{path}: '{source}' stands in {self._path} for another file already; rename it or the "
                "folder that was given, or take those lines out to have it made anew"
            )
        return line is not None

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The lines of that kind."""
        return [line for line in self._lines if line["kind"] == kind]

    def add(self, clips: list[dict[str, Any]], video: dict[str, Any]) -> None:
        """A video that is done, with its clips."""
        lines = [*({"kind": "clip", **clip} for clip in clips), {"kind": "video", **video}]
        self._lines += lines
        self._videos[video["source"]] = lines[-1]
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
