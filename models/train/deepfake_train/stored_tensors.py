"""Files of ``torch.save`` read as plain data: tensors, numbers, strings, lists, tuples and dictionaries.

``torch.load(weights_only=True)`` would be the obvious way, but what it lets through depends on PyTorch's
version: before 2.6 a TorchScript archive or a tar file gets past it to loaders that run code, 1.13 does not
know floats (optimisers have them), and its refusals tell how to run the code after all. This reader is the
same with every version. It never imports what a file names: a handful of names stand for functions of its
own, all others are refused. Tensors lie on the mapped file, so that what nobody looks at is not read.
"""

from __future__ import annotations

import mmap
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from torch import Tensor

LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
ZIP_MAGIC = b"PK\x03\x04"

_TYPES = {
    f"{name}Storage": dtype
    for name, dtype in (
        ("Float", torch.float32),
        ("Double", torch.float64),
        ("Half", torch.float16),
        ("BFloat16", torch.bfloat16),
        ("Long", torch.int64),
        ("Int", torch.int32),
        ("Short", torch.int16),
        ("Char", torch.int8),
        ("Byte", torch.uint8),
        ("Bool", torch.bool),
    )
}


# What the pickle machine makes. Tuples and slots, so that no file can set attributes of them.
class _Storage(NamedTuple):
    key: str
    dtype: torch.dtype
    elements: int
    # of a view, as old versions of PyTorch saved them, in the storage
    start: int

    @property
    def item_size(self) -> int:
        # ``torch.dtype`` itself tells since 2.1 only
        return torch.empty(0, dtype=self.dtype).element_size()

    @property
    def size(self) -> int:
        return self.elements * self.item_size


class _Stored(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Tensor:
    """Stands for ``torch._utils._rebuild_tensor`` and its successor."""

    __slots__ = ()

    def __call__(self, storage: object, offset: int, size: object, stride: object, *_rest: object) -> _Stored:
        if not isinstance(storage, _Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
            raise pickle.UnpicklingError("it holds a tensor that is none")
        return _Stored(storage, storage.start + offset, size, stride)


class _Parameter:
    """Stands for ``torch._utils._rebuild_parameter``."""

    __slots__ = ()

    def __call__(self, data: object, *_rest: object) -> object:
        return data


class _Size:
    """Stands for ``torch.Size``."""

    __slots__ = ()

    def __call__(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sizes)


_KNOWN: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _Tensor(),
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor(),
    ("torch._utils", "_rebuild_parameter"): _Parameter(),
    ("torch", "Size"): _Size(),
    **{(module, name): dtype for module in ("torch", "torch.cuda") for name, dtype in _TYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, fix_imports=False, encoding="utf-8")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _KNOWN:
            raise pickle.UnpicklingError(f"it wants {module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, identity: Any) -> _Storage:  # noqa: ANN401 - whatever the file says
        kind, dtype, key, _location, elements, *view = identity
        if kind not in ("storage", b"storage") or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("it wants something stored that is no tensor")
        start = view[0][1] if view and view[0] is not None else 0
        return self.storages.setdefault(key, _Storage(key, dtype, elements, 0))._replace(start=start)


def read_tensors(path: Path, wanted: Container[str] | None = None) -> Any:  # noqa: ANN401 - whatever was saved
    """What ``torch.save`` wrote, in the zip or the older plain-pickle container, if it holds only plain data.

    Of a dictionary only what is ``wanted``, if said, is read; its other keys have None. Tensors may share
    memory with the file, which therefore must not be changed in place; they themselves may be. Raises
    ``ValueError`` for a file that holds anything else, or that is broken.
    """
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            zipped = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC
            file.seek(0)
            content, places = (_read_zip if zipped else _read_legacy)(file)
            if wanted is not None and isinstance(content, dict):
                content = {key: value if key in wanted else None for key, value in content.items()}
            return _Filling(mapped, places).fill(content)
        except Exception as error:  # a made-up file can raise nearly anything
            raise ValueError(f"{path} is refused as a checkpoint of tensors alone: {error}") from error


Places = Callable[[_Storage], int]
"""Where in the file a storage begins."""


def _read_zip(file: BinaryIO) -> tuple[Any, Places]:
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(names) != 1:
        raise pickle.UnpicklingError("this zip file is not of torch.save")
    prefix = names[0].removesuffix("data.pkl")
    if f"{prefix}byteorder" in archive.namelist() and archive.read(f"{prefix}byteorder") != b"little":
        raise pickle.UnpicklingError("its numbers are big-endian")
    with archive.open(names[0]) as pickled:
        content = _Unpickler(pickled).load()  # type: ignore[arg-type] # IO[bytes] will do

    def place(storage: _Storage) -> int:
        entry = archive.getinfo(f"{prefix}data/{storage.key}")
        if entry.compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("its tensors are compressed")
        if entry.file_size < storage.size:
            raise pickle.UnpicklingError("a tensor is cut short")
        # The directory at the end does not tell the length of what comes before the data.
        file.seek(entry.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        return int(entry.header_offset + 30 + name + extra)

    return content, place


def _read_legacy(file: BinaryIO) -> tuple[Any, Places]:
    if _Unpickler(file).load() != LEGACY_MAGIC or _Unpickler(file).load() != LEGACY_PROTOCOL:
        raise pickle.UnpicklingError("it is not of torch.save")
    if not _Unpickler(file).load()["little_endian"]:
        raise pickle.UnpicklingError("its numbers are big-endian")
    unpickler = _Unpickler(file)
    content = unpickler.load()
    places: dict[str, int] = {}
    keys = _Unpickler(file).load()
    position = file.tell()
    for key in keys:
        storage = unpickler.storages[key]
        file.seek(position)
        (elements,) = struct.unpack("<q", file.read(8))
        if elements != storage.elements:
            raise pickle.UnpicklingError("a tensor is of another length than is said")
        places[key] = position + 8
        position += 8 + storage.size
    return content, lambda storage: places[storage.key]


class _Filling:
    """Puts tensors in place of what the pickle machine made of them."""

    def __init__(self, mapped: mmap.mmap, places: Places) -> None:
        self._mapped, self._places = mapped, places
        self._flat: dict[str, Tensor] = {}
        # By identity, so that what occurs many times is walked once; the old values are kept, for an identity
        # is one's own only as long as one lives.
        self._seen: dict[int, tuple[object, Any]] = {}

    def fill(self, value: Any) -> Any:  # noqa: ANN401
        if id(value) in self._seen:
            return self._seen[id(value)][1]
        if isinstance(value, _Stored):
            filled: Any = self._tensor(value)
        elif isinstance(value, _Storage):
            raise pickle.UnpicklingError("it holds a storage that is no tensor's")
        elif isinstance(value, dict | list):
            self._seen[id(value)] = (value, value)
            for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
                value[key] = self.fill(part)
            return value
        elif isinstance(value, tuple):
            filled = tuple(self.fill(part) for part in value)
        else:
            return value
        self._seen[id(value)] = (value, filled)
        return filled

    def _tensor(self, stored: _Stored) -> Tensor:
        # PyTorch checks that this stays within the storage.
        return self._storage(stored.storage).as_strided(stored.size, stored.stride, stored.offset)

    def _storage(self, storage: _Storage) -> Tensor:
        if storage.key not in self._flat:
            place = self._places(storage)
            if storage.size == 0:
                flat = torch.empty(0, dtype=storage.dtype)
            else:
                flat = torch.frombuffer(self._mapped, dtype=torch.uint8, count=storage.size, offset=place)
                # The older container aligns nothing.
                flat = (flat.clone() if place % storage.item_size else flat).view(storage.dtype)
            self._flat[storage.key] = flat
        return self._flat[storage.key]
