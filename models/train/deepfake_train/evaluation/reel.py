"""Pictures of a video that wait outside of memory: there may be gigabytes of them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from typing import overload

import numpy as np

from ..faces import Picture


class Reel(Sequence[Picture]):
    """Pictures [H, W, 3], each of its own size, in a temporary file; they cannot be written to.

    The file lies where Python puts such files (``TMPDIR``) and is gone with the reel and all its pictures.
    """

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self._shapes: list[tuple[int, ...]] = []
        self._offsets = [0]
        with tempfile.TemporaryFile() as file:
            for picture in pictures:
                file.write(picture.tobytes())
                self._shapes.append(picture.shape)
                self._offsets.append(self._offsets[-1] + picture.nbytes)
            file.flush()
            # what is mapped outlives the closed file; nothing cannot be mapped
            self._bytes = np.memmap(file, np.uint8, mode="r") if self._offsets[-1] else np.zeros(0, np.uint8)

    def __len__(self) -> int:
        return len(self._shapes)

    @overload
    def __getitem__(self, index: int) -> Picture: ...

    @overload
    def __getitem__(self, index: slice) -> list[Picture]: ...

    def __getitem__(self, index: int | slice) -> Picture | list[Picture]:
        if isinstance(index, slice):
            return [self[each] for each in range(len(self))[index]]
        begin = self._offsets[:-1][index]
        shape = self._shapes[index]
        return np.asarray(self._bytes[begin : begin + int(np.prod(shape))]).reshape(shape)
