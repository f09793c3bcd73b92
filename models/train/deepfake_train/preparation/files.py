"""The files that a command is to go through."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path


def find_files(given: Sequence[Path], suffixes: Collection[str]) -> list[tuple[Path, str]]:
    """Files with their names: those given, and those with a suffix below given folders, by their path there.

    Suffixes are in lower case and begin with a dot.
    """
    found = []
    for path in given:
        if path.is_dir():
            below = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
            found += [(file, file.relative_to(path).as_posix()) for file in below]
        else:
            found.append((path, path.name))
    return found
