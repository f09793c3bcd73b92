"""The files that a command is to go through."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePosixPath


def find_files(given: Sequence[Path], suffixes: Collection[str]) -> list[tuple[Path, str]]:
    """Files with their names: those given, and those with a suffix below given folders.

    A name is the file's path below the given folder with that folder's own name in front, so that folders
    that hold files of the same name can be given together. Suffixes are in lower case and begin with a dot.
    Raises ``FileNotFoundError`` for what does not exist and ``ValueError`` for what is there twice.
    """
    refuse_missing(given)
    found: list[tuple[Path, str]] = []
    for path in given:
        if path.is_dir():
            below = sorted(file for file in path.rglob("*") if file.suffix.lower() in suffixes)
            found += [(file, name_below(path, file)) for file in below]
        else:
            found.append((path, path.name))
    _refuse_repeated(found)
    return found


def refuse_missing(given: Iterable[Path]) -> None:
    """Raises ``FileNotFoundError`` if any of the files or folders does not exist."""
    missing = [str(path) for path in given if not path.exists()]
    if missing:
        raise FileNotFoundError(f"no such file or folder: {', '.join(missing)}")


def folder_name(folder: Path) -> str:
    """The folder's own name, also where it is given as ``.`` or ``..``."""
    return folder.name if folder.name not in ("", "..") else folder.resolve().name


def name_below(folder: Path, path: Path) -> str:
    """The path below the folder, with the folder's own name in front."""
    return (PurePosixPath(folder_name(folder)) / path.relative_to(folder).as_posix()).as_posix()


def _refuse_repeated(found: Iterable[tuple[Path, str]]) -> None:
    by_name: dict[str, Path] = {}
    by_place: dict[Path, str] = {}
    for path, name in found:
        place = path.resolve()
        if place in by_place:
            raise ValueError(f"{path} is given twice, as '{by_place[place]}' and as '{name}'")
        if name in by_name:
            raise ValueError(
                f"{by_name[name]} and {path} would both be called '{name}': rename one, or the folder given"
            )
        by_name[name], by_place[place] = path, name
