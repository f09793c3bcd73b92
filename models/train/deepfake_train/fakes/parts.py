"""Pairs that are made part by part, each kept as soon as it is there: making them all takes hours.

A part is a pack in the folder ``parts`` beside the pack that all of them become. Each pair is drawn from the
seed and its number alone, so that what an interruption left is gone on with to the bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..preparation.metadata import agree
from .pack import Pack, write_pack
from .prepared import Packed

PAIRS = 50
"""Of a part."""
FOLDER, UNFINISHED = "parts", "unfinished"

MakePairs = Callable[[range], Iterable[list[Packed]]]
"""The pairs of these numbers, without those that turned out to be none."""


class Parts:
    """The parts of a pack that is being made in ``out``.

    ``settings`` are all that the pairs hang on, as plain data; raises ``PreparationMismatchError`` if parts
    are there that were made by other ones.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self._folder = out / FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        agree(self._folder, settings)

    def make(self, split: str, count: int, make: MakePairs) -> Iterator[list[Packed]]:
        """Makes what is not there yet of pairs 0 to ``count``, and gives them all, one after the other."""
        for first in range(0, count, PAIRS):
            numbers = range(first, min(first + PAIRS, count))
            place = self._folder / f"{split}-{numbers.start}-{numbers.stop}"
            if not place.is_dir():
                self._write(place, [item for pair in make(numbers) for item in pair])
            yield from _read(place)

    def _write(self, place: Path, packed: list[Packed]) -> None:
        unfinished = self._folder / UNFINISHED
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        if packed:
            write_pack(unfinished, packed, quality=None)
        unfinished.rename(place)

    def remove(self) -> None:
        """Once all of it is in the pack."""
        shutil.rmtree(self._folder)


def _read(place: Path) -> Iterator[list[Packed]]:
    if not any(place.iterdir()):
        return
    pack = Pack(place)
    for real in range(0, len(pack), 2):
        yield [(pack[index], pack.split(index), pack.name(index)) for index in (real, real + 1)]
