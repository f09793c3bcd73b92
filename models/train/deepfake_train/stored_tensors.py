"""Files of ``torch.save`` read as plain data: tensors, numbers, strings, lists, tuples and dictionaries.

``torch.load(weights_only=True)`` would be the obvious way, but what it lets through depends on PyTorch's
version: before 2.6 a TorchScript archive or a tar file gets past it to loaders that run code, 1.13 does not
know floats (optimisers have them), and its refusals tell how to run the code after all. This reader is the
same with every version. Its pickle machine knows only what plain data needs and never imports what a file
names. Nor may a file cost much more than its own size: not time, not memory. Tensors lie on the mapped file,
so that what nobody looks at is not read.
"""

from __future__ import annotations

import io
import itertools
import math
import mmap
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Collection, Container
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

import torch
from torch import Tensor

LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
ZIP_MAGIC = b"PK\x03\x04"
LITTLE = b"little"

# Far above what real checkpoints need: one of the published widths, optimisers included, takes 27,000 steps.
LARGEST_PICKLE = 64 << 20
MOST_STEPS = 2_000_000
DEEPEST = 64
MOST_DIMENSIONS = 64
LONGEST_SHOWN = 200
# Tensors may share their numbers; how many times the size of the file they and their storages come to.
MOST_OVERLAP = 8

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


def shown(text: object) -> str:
    """What a file says, for a message: in plain ASCII, lest it commands the terminal, and not long."""
    plain = ascii(text)[1:-1] if isinstance(text, str) else ascii(text)
    return plain if len(plain) <= LONGEST_SHOWN else f"{plain[:LONGEST_SHOWN]}..."


def shown_names(names: Collection[object], most: int = 12) -> str:
    """The first few of the names in a file, for a message."""
    rest = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([*map(shown, itertools.islice(names, most)), *rest])


# What the pickle machine makes of storages and tensors, until they are filled.
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

    @property
    def elements(self) -> int:
        return math.prod(self.size)

    @property
    def last(self) -> int:
        """The place of the last element."""
        return self.offset + sum(
            (length - 1) * step for length, step in zip(self.size, self.stride, strict=True)
        )


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and value >= 0  # a bool is none


def _are_counts(values: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(values, tuple) and len(values) <= MOST_DIMENSIONS and all(map(_is_count, values))


def _tensor(storage: object, offset: object, size: object, stride: object, *_rest: object) -> _Stored:
    """``torch._utils._rebuild_tensor`` and its successor.

    In Python's integers, for those of PyTorch's own checks overflow.
    """
    if not (
        isinstance(storage, _Storage) and _is_count(offset) and _are_counts(size) and _are_counts(stride)
    ):
        raise ValueError("it holds a tensor that is none")
    stored = _Stored(storage, storage.start + offset, size, stride)
    if len(size) != len(stride) or stored.elements > storage.elements:
        raise ValueError("it holds a tensor that is larger than its numbers")
    if stored.elements and stored.last >= storage.elements:
        raise ValueError("it holds a tensor that reaches beyond its numbers")
    return stored


def _parameter(data: object, *_rest: object) -> object:
    """``torch._utils._rebuild_parameter``."""
    return data


def _size(sizes: object) -> object:
    """``torch.Size``."""
    if not _are_counts(sizes):
        raise ValueError("it holds a shape that is none")
    return sizes


def _ordered(pairs: object = ()) -> OrderedDict[str | int, Any]:
    """``collections.OrderedDict``; Python 2 saved its content as a list of pairs."""
    made: OrderedDict[str | int, Any] = OrderedDict()
    if not isinstance(pairs, list | tuple):
        raise ValueError("it holds a dictionary that is none")
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError("it holds a dictionary that is none")
        _set(made, *pair)
    return made


def _set(target: object, key: object, value: object) -> None:
    # Not every key that hashes hashes soon: tuples of tuples take for ever, or all of the stack.
    if not isinstance(target, dict) or type(key) not in (str, int):
        raise ValueError("it holds a dictionary whose keys are neither strings nor whole numbers")
    target[key] = value


_KNOWN: dict[str, Callable[..., object] | torch.dtype] = {
    "collections OrderedDict": _ordered,
    "torch._utils _rebuild_tensor": _tensor,
    "torch._utils _rebuild_tensor_v2": _tensor,
    "torch._utils _rebuild_parameter": _parameter,
    "torch Size": _size,
    **{f"{module} {name}": dtype for module in ("torch", "torch.cuda") for name, dtype in _TYPES.items()},
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_NUMBERS = {"BININT", "BININT1", "BININT2", "INT", "LONG1", "BINFLOAT"}
_PYTHON_2_STRINGS = {"SHORT_BINSTRING", "BINSTRING"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """The pickle machine, as far as plain data needs it in protocol 2, which is that of ``torch.save``."""

    def __init__(self) -> None:
        self.storages: dict[str, _Storage] = {}
        self._steps = 0
        self._stack: list[Any] = []
        # The stacks below each mark.
        self._below: list[list[Any]] = []
        # A dictionary, unlike the table of Python's own machine, which one large index makes fill the memory.
        self._memo: dict[int, Any] = {}

    def load(self, file: io.BytesIO) -> Any:  # noqa: ANN401 - whatever the file says
        """What is pickled at the file's position, which moves behind it."""
        for opcode, argument, _position in pickletools.genops(file):
            self._spend(1)
            self._step(opcode.name, argument)
        return self._stack.pop()

    def _spend(self, steps: int) -> None:
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise ValueError("it takes too many steps to read")

    def _step(self, opcode: str, argument: Any) -> None:  # noqa: ANN401
        if opcode in _CONSTANTS:
            self._stack.append(_CONSTANTS[opcode])
        elif opcode in _NUMBERS or opcode == "BINUNICODE":
            self._stack.append(argument)
        elif opcode in _PYTHON_2_STRINGS:
            self._stack.append(argument.encode("latin-1").decode("utf-8"))
        elif opcode in _TUPLES:
            parts = [self._stack.pop() for _ in range(_TUPLES[opcode])]
            self._stack.append(tuple(reversed(parts)))
        elif opcode in _STEPS:
            _STEPS[opcode](self, argument)
        else:
            raise ValueError(f"it needs the pickle opcode {opcode}")

    def _nothing(self, _argument: object) -> None:
        pass

    def _mark(self, _argument: object) -> None:
        self._below.append(self._stack)
        self._stack = []

    def _marked(self) -> list[Any]:
        """What lies above the last mark, which is gone then."""
        marked, self._stack = self._stack, self._below.pop()
        return marked

    def _tuple(self, _argument: object) -> None:
        marked = self._marked()
        self._stack.append(tuple(marked))

    def _list(self, _argument: object) -> None:
        self._stack.append([])

    def _dict(self, _argument: object) -> None:
        self._stack.append({})

    def _append(self, _argument: object) -> None:
        self._extend([self._stack.pop()])

    def _appends(self, _argument: object) -> None:
        self._extend(self._marked())

    def _extend(self, parts: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise ValueError("it holds a list that is none")
        target.extend(parts)

    def _set_item(self, _argument: object) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _set(self._stack[-1], key, value)

    def _set_items(self, _argument: object) -> None:
        marked = self._marked()
        for key, value in zip(marked[::2], marked[1::2], strict=True):
            _set(self._stack[-1], key, value)

    def _put(self, index: int) -> None:
        self._memo[index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _global(self, name: str) -> None:
        if name not in _KNOWN:
            raise ValueError(f"it wants {name.replace(' ', '.')}")
        self._stack.append(_KNOWN[name])

    def _reduce(self, _argument: object) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        # Nothing on the stack can be called but the functions of ``_KNOWN``.
        if not callable(function) or not isinstance(arguments, tuple):
            raise ValueError("it calls what is no function")
        # The functions walk through them, and what is in the memo can be given to them again and again.
        self._spend(len(arguments) + sum(len(part) for part in arguments if isinstance(part, list | tuple)))
        self._stack.append(function(*arguments))

    def _build(self, _argument: object) -> None:
        """Leaves out the attributes of a dictionary: ``_metadata``, the versions of its layers' layouts."""
        self._stack.pop()
        if not isinstance(self._stack[-1], OrderedDict):
            raise ValueError("it sets attributes")

    def _stored(self, _argument: object) -> None:
        """A storage."""
        identity = self._stack.pop()
        if not isinstance(identity, tuple) or len(identity) not in (5, 6):
            raise ValueError("it wants something stored that is no tensor")
        kind, dtype, key, _location, elements, view = (*identity, None)[:6]
        start = 0 if view is None else view[1]
        if kind != "storage" or not isinstance(dtype, torch.dtype) or type(key) is not str:
            raise ValueError("it wants something stored that is no tensor")
        if not _is_count(elements) or not _is_count(start):
            raise ValueError("it holds a tensor of less than nothing")
        storage = _Storage(key, dtype, elements, 0)
        if self.storages.setdefault(key, storage) != storage:
            raise ValueError("it holds a tensor of two kinds")
        self._stack.append(storage._replace(start=start))


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine._nothing,
    "STOP": _Machine._nothing,
    "MARK": _Machine._mark,
    "TUPLE": _Machine._tuple,
    "EMPTY_LIST": _Machine._list,
    "EMPTY_DICT": _Machine._dict,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "GLOBAL": _Machine._global,
    "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
    "BINPERSID": _Machine._stored,
}


def read_tensors(path: Path, wanted: Container[str] | None = None) -> Any:  # noqa: ANN401 - whatever was saved
    """What ``torch.save`` wrote, in the zip or the older plain-pickle container, if it holds only plain data.

    Of a dictionary only what is ``wanted``, if said, is read; its other keys have None. Tensors may share
    memory with the file, which therefore must not be changed in place; they themselves may be. Raises
    ``ValueError`` for a file that holds anything else, or that is broken.
    """
    with path.open("rb") as file:
        try:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            zipped = mapped[: len(ZIP_MAGIC)] == ZIP_MAGIC
            content, places = _read_zip(mapped, file) if zipped else _read_legacy(mapped, file)
            if wanted is not None and isinstance(content, dict):
                content = {key: value if key in wanted else None for key, value in content.items()}
            return _Filling(mapped, places).fill(content)
        except Exception as error:  # a made-up file can raise nearly anything
            reason = shown(str(error) or type(error).__name__)
    # Out here, lest a traceback shows the cause with all that the file says.
    raise ValueError(f"{path} is refused as a checkpoint of tensors alone: {reason}")


Places = Callable[[_Storage], int]
"""Where in the file a storage begins."""


def _read_zip(mapped: mmap.mmap, file: BinaryIO) -> tuple[Any, Places]:
    archive = zipfile.ZipFile(file)
    names = [name for name in archive.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(names) != 1:
        raise ValueError("this zip file is not of torch.save")
    prefix = names[0].removesuffix("data.pkl")

    def place(name: str, size: int) -> int:
        return _place(mapped, archive.getinfo(prefix + name), size)

    if f"{prefix}byteorder" in archive.namelist():
        at = place("byteorder", len(LITTLE))
        if mapped[at : at + len(LITTLE)] != LITTLE:
            raise ValueError("its numbers are big-endian")
    size = archive.getinfo(names[0]).file_size
    if size > LARGEST_PICKLE:
        raise ValueError("its table of contents is too large")
    at = place("data.pkl", size)
    content = _Machine().load(io.BytesIO(mapped[at : at + size]))
    return content, lambda storage: place(f"data/{storage.key}", storage.size)


def _place(mapped: mmap.mmap, entry: zipfile.ZipInfo, size: int) -> int:
    """Where in a zip file an entry begins that has at least that size."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed")
    if entry.file_size < size:
        raise ValueError("a tensor is cut short")
    # The directory at the end does not tell the length of what comes before the data.
    name, extra = struct.unpack_from("<HH", mapped, entry.header_offset + 26)
    return int(entry.header_offset + 30 + name + extra)


def _read_legacy(mapped: mmap.mmap, file: BinaryIO) -> tuple[Any, Places]:
    pickles, machine = io.BytesIO(file.read(LARGEST_PICKLE)), _Machine()
    if machine.load(pickles) != LEGACY_MAGIC or machine.load(pickles) != LEGACY_PROTOCOL:
        raise ValueError("it is not of torch.save")
    if not machine.load(pickles)["little_endian"]:
        raise ValueError("its numbers are big-endian")
    content, keys = machine.load(pickles), machine.load(pickles)
    places: dict[str, int] = {}
    position = pickles.tell()
    for key in keys:
        if type(key) is not str:
            raise ValueError("it names a tensor by what is no string")
        storage = machine.storages[key]
        (elements,) = struct.unpack_from("<q", mapped, position)
        if elements != storage.elements:
            raise ValueError("a tensor is of another length than is said")
        places[key] = position + 8
        position += 8 + storage.size
    return content, lambda storage: places[storage.key]


class _Filling:
    """Puts tensors in place of what the pickle machine made of them."""

    def __init__(self, mapped: mmap.mmap, places: Places) -> None:
        self._mapped, self._places = mapped, places
        self._left = MOST_OVERLAP * len(mapped)
        self._flat: dict[str, Tensor] = {}
        # By identity, so that what occurs many times is walked once; the old values are kept, for an identity
        # is one's own only as long as one lives.
        self._seen: dict[int, tuple[object, Any]] = {}

    def fill(self, value: Any, depth: int = 0) -> Any:  # noqa: ANN401
        if depth > DEEPEST:
            raise ValueError("it is nested too deeply")
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if id(value) in self._seen:
            return self._seen[id(value)][1]
        if isinstance(value, dict | list):
            self._seen[id(value)] = (value, value)
            for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
                value[key] = self.fill(part, depth + 1)
            return value
        if isinstance(value, _Stored):
            filled: Any = self._tensor(value)
        elif isinstance(value, tuple) and not isinstance(value, _Storage):
            filled = tuple(self.fill(part, depth + 1) for part in value)
        else:
            raise ValueError("it holds what is neither a tensor nor plain data")
        self._seen[id(value)] = (value, filled)
        return filled

    def _spend(self, size: int) -> None:
        """Counts what tensors take, if each is copied, lest a small file asks for much memory."""
        self._left -= size
        if self._left < 0:
            raise ValueError("its tensors overlap too much")

    def _tensor(self, stored: _Stored) -> Tensor:
        flat = self._storage(stored.storage)
        self._spend(stored.elements * stored.storage.item_size)
        if not stored.elements:
            return flat.new_empty(stored.size)
        return flat.as_strided(stored.size, stored.stride, stored.offset)

    def _storage(self, storage: _Storage) -> Tensor:
        if storage.key not in self._flat:
            self._flat[storage.key] = self._read(storage)
            self._spend(storage.size)
        return self._flat[storage.key]

    def _read(self, storage: _Storage) -> Tensor:
        if storage.size == 0:
            return torch.empty(0, dtype=storage.dtype)
        place = self._places(storage)
        if not 0 <= place <= len(self._mapped) - storage.size:
            raise ValueError("a tensor is cut short")
        flat = torch.frombuffer(self._mapped, dtype=torch.uint8, count=storage.size, offset=place)
        # The older container aligns nothing.
        return (flat.clone() if place % storage.item_size else flat).view(storage.dtype)
