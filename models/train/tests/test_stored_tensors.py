"""Reading files of torch.save: both containers, what is refused, and that nothing in them is run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import traceback
import tracemalloc
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")

from deepfake_train import stored_tensors  # noqa: E402
from deepfake_train.stored_tensors import read_tensors, shown, shown_names  # noqa: E402

CONTAINERS = ["zip", "legacy"]


def save(content: object, path: Path, container: str) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    return path


@pytest.mark.parametrize("container", CONTAINERS)
def test_all_that_trainings_save_is_read(tmp_path: Path, container: str) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-4)
    network(torch.rand(2, 2, 8, 8)).sum().backward()
    optimizer.step()
    base = torch.arange(24.0).reshape(4, 6)
    content: dict[str, Any] = {
        "network": network.state_dict(),
        "parameter": network[0].weight,
        "optimizer": optimizer.state_dict(),
        "views": (base, base[1:3, ::2], base.t()),
        "types": [
            torch.tensor([1, 0, 3], dtype=dtype)
            for dtype in (
                torch.float16,
                torch.bfloat16,
                torch.float64,
                torch.int64,
                torch.int32,
                torch.int16,
                torch.int8,
                torch.uint8,
                torch.bool,
            )
        ],
        "empty": [torch.empty(0), torch.tensor(2.5), torch.Size([1, 2])],
        "plain": OrderedDict(a=None, b=[True, -1, 2**70, 0.1, "ä"], c={1: ()}),
    }
    read = read_tensors(save(content, tmp_path / "all.pt", container))
    expected = torch.load(tmp_path / "all.pt", weights_only=False)

    def equal(first: object, second: object) -> bool:
        if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
            return first.dtype == second.dtype and torch.equal(first, second)
        if isinstance(first, dict) and isinstance(second, dict):
            return list(first) == list(second) and all(equal(first[key], second[key]) for key in first)
        if isinstance(first, list | tuple) and isinstance(second, list | tuple):
            return len(first) == len(second) and all(map(equal, first, second))
        return type(first) is type(second) and first == second

    assert equal(read, expected)
    assert list(read) == list(content)
    # tensors that shared memory still do, and what is done to them does not reach the file
    read["views"][0].zero_()
    assert not read["views"][1].any()
    assert read_tensors(tmp_path / "all.pt")["views"][1].any()


@pytest.mark.parametrize("container", CONTAINERS)
def test_what_is_not_wanted_is_left_out(tmp_path: Path, container: str) -> None:
    path = save({"a": torch.ones(2), "b": torch.ones(3), "c": 1}, tmp_path / "some.pt", container)
    read = read_tensors(path, wanted={"b"})
    assert torch.equal(read.pop("b"), torch.ones(3))
    assert read == {"a": None, "c": None}


class Calls:
    """Makes a folder where it is unpickled, by whatever way of unpickling runs code."""

    def __init__(self, path: Path, function: Callable[..., object] = os.mkdir) -> None:
        self.path, self.function = path, function

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return self.function, (str(self.path),)


class Built:
    """Sets attributes of a function that the reader itself uses."""

    def __reduce__(self) -> tuple[object, ...]:
        return torch._utils._rebuild_tensor_v2, (1, 2, 3, 4, 5, 6), {"__call__": 1}


@pytest.mark.parametrize("container", [*CONTAINERS, "bare", "tar"])
def test_code_is_refused_and_not_run(tmp_path: Path, container: str) -> None:
    path, trace = tmp_path / "evil.pth.tar", tmp_path / "trace"
    content = {"generator": OrderedDict(weight=torch.ones(2)), "epoch": Calls(trace)}
    if container in CONTAINERS:
        save(content, path, container)
    else:
        pickled = pickle.dumps(Calls(trace), protocol=2)
        path.write_bytes(pickled)
        if container == "tar":
            with tarfile.open(path, "w") as archive:
                for name in ("storages", "tensors", "pickle"):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(pickled)
                    archive.addfile(entry, io.BytesIO(pickled))
    with pytest.raises(ValueError, match="is refused") as raised:
        read_tensors(path)
    assert not trace.exists()
    # nobody shall be told how to run it after all
    assert "weights_only" not in str(raised.value)
    if container != "tar":
        assert str(raised.value).endswith("it wants posix.mkdir")


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.script(torch.nn.ReLU()).save(str(path))
    with pytest.raises(ValueError, match="is refused"):
        read_tensors(path)


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("spoil", [Built(), torch.nn.ReLU(), torch.float32, {1, 2}.__class__])
def test_objects_are_refused(tmp_path: Path, container: str, spoil: object) -> None:
    with pytest.raises(ValueError, match="is refused"):
        read_tensors(save({"generator": spoil}, tmp_path / "object.pt", container))


@pytest.mark.parametrize("container", CONTAINERS)
def test_broken_files_are_refused(tmp_path: Path, container: str) -> None:
    whole = save({"a": torch.ones(1000), "b": 0.5}, tmp_path / "whole.pt", container).read_bytes()
    path = tmp_path / "broken.pt"
    for length in (0, 1, 3, 10, 60, 200, 1000, len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is refused"):
            read_tensors(path)


def test_a_tensor_cannot_reach_beyond_its_numbers(tmp_path: Path) -> None:
    """The pickle says more elements than lie in the zip file, or a shape that does not fit."""
    whole = save({"a": torch.ones(200)}, tmp_path / "whole.pt", "zip")
    with zipfile.ZipFile(whole) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    assert parts[name].count(b"K\xc8") == 2, "200 as the number of elements, and as the shape"
    at = parts[name].rindex(b"K\xc8")
    for spoilt in (
        parts[name].replace(b"K\xc8", b"K\xff"),
        parts[name][:at] + b"K\xff" + parts[name][at + 2 :],
    ):
        path = tmp_path / "spoilt.pt"
        with zipfile.ZipFile(path, "w") as archive:
            for part, content in (parts | {name: spoilt}).items():
                archive.writestr(part, content)
        with pytest.raises(ValueError, match="is refused"):
            read_tensors(path)


# Pickles by hand, since what ``pickle`` itself writes is well-formed.
START, LONG_AGO = b"\x80\x02", b"ccollections\nOrderedDict\n"
NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def whole(number: int) -> bytes:
    content = pickle.encode_long(number)
    return b"\x8a" + bytes([len(content)]) + content


def text(value: str) -> bytes:
    content = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(content)) + content


def wholes(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(whole, numbers)) + b"t"


def pickled_storage(
    *,
    kind: bytes = text("storage"),
    dtype: str = "Float",
    key: bytes = text("0"),
    elements: bytes = whole(4),
    view: bytes = b"",
) -> bytes:
    return b"(" + kind + f"ctorch\n{dtype}Storage\n".encode() + key + text("cpu") + elements + view + b"tQ"


def pickled_tensor(
    storage: bytes = b"",
    *,
    offset: bytes = whole(0),
    size: bytes = wholes((4,)),
    stride: bytes = wholes((1,)),
) -> bytes:
    what = (storage or pickled_storage()) + offset + size + stride + b"\x89" + LONG_AGO + b")R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + what + b"tR"


def zipped(
    path: Path,
    content: bytes,
    numbers: bytes = NUMBERS,
    *,
    order: bytes = b"little",
    how: int = zipfile.ZIP_STORED,
) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("it/data.pkl", START + content + b".", how)
        archive.writestr("it/data/0", numbers)
        archive.writestr(
            "it/byteorder", order, zipfile.ZIP_DEFLATED if len(order) > 6 else zipfile.ZIP_STORED
        )
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match="is refused as a checkpoint") as raised:
        read_tensors(path)
    return str(raised.value)


def test_pickles_by_hand_are_read(tmp_path: Path) -> None:
    """Otherwise that those below are refused would prove nothing."""
    read = read_tensors(zipped(tmp_path / "a.pt", pickled_tensor()))
    assert read.tolist() == [1, 2, 3, 4]
    last = pickled_tensor(offset=whole(3), size=wholes((1, 1)), stride=wholes((7, 7)))
    assert read_tensors(zipped(tmp_path / "b.pt", last)).tolist() == [[4]]
    view = pickled_storage(view=b"(" + text("1") + whole(2) + whole(2) + b"t")
    assert read_tensors(zipped(tmp_path / "c.pt", pickled_tensor(view, size=wholes((2,))))).tolist() == [3, 4]


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (1, (4,), (1,)),
        (0, (2, 2), (3, 1)),
        (-1, (1,), (1,)),
        (3, (2,), (-1,)),
        (0, (-1,), (1,)),
        (0, (4,), (1, 1)),
        # what overflowed in PyTorch 1.13
        (2**62 - 256, (4,), (1,)),
        (2**62 - 1, (2,), (2**62,)),
        (0, (2, 2), (2**62, 2**62)),
        # copies of it would be large
        (0, (10**10,), (0,)),
        (0, (5,), (0,)),
        (0, (1,) * 65, (1,) * 65),
    ],
)
def test_places_beyond_the_numbers_are_refused(
    tmp_path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    content = pickled_tensor(offset=whole(offset), size=wholes(size), stride=wholes(stride))
    assert "it holds a tensor that" in refusal(zipped(tmp_path / "beyond.pt", content))


@pytest.mark.parametrize(
    "content",
    [
        pickled_tensor(pickled_storage(elements=whole(-1))),
        pickled_tensor(pickled_storage(elements=b"\x88")),
        pickled_tensor(pickled_storage(elements=text("4"))),
        pickled_tensor(pickled_storage(key=whole(0))),
        pickled_tensor(pickled_storage(key=b"(" + text("0") + b"t")),
        pickled_tensor(pickled_storage(kind=text("module"))),
        pickled_tensor(pickled_storage(view=b"(" + text("1") + whole(-2) + whole(2) + b"t")),
        pickled_tensor(pickled_storage(view=b"(" + text("1") + text("2") + whole(2) + b"t")),
        pickled_tensor(offset=b"\x88"),
        pickled_tensor(size=text("4")),
        pickled_tensor(size=b"(\x88t"),
        b"ctorch\nSize\n(" + text("abc") + b"tR",
        b"ctorch\nSize\n((" + text("a") + b"ttR",
        b"ctorch\nSize\n(" + wholes((1,) * 65) + b"tR",
        # two types of the same numbers
        pickled_tensor() + pickled_tensor(pickled_storage(dtype="Int")) + b"\x86",
        # what is no data, by itself
        pickled_storage(),
        b"ctorch\nFloatStorage\n",
        b"ctorch\nSize\n",
        LONG_AGO,
    ],
)
def test_fields_of_the_wrong_type_are_refused(tmp_path: Path, content: bytes) -> None:
    refusal(zipped(tmp_path / "odd.pt", content))


def test_more_elements_than_are_stored_are_refused(tmp_path: Path) -> None:
    content = pickled_tensor(pickled_storage(elements=whole(2**40)))
    assert "a tensor is cut short" in refusal(zipped(tmp_path / "long.pt", content))


@pytest.mark.parametrize(
    "content",
    [
        b"}" + b")" + b"K\x01s",  # a tuple as a key
        b"}" + b")" * 1 + b"\x85" * 100_000 + b"K\x01s",
        b"}(" + b"K\x01" + b"K\x01" + b")K\x01u",
        b"}" + b"\x88" + b"K\x01s",
        LONG_AGO + b"]((" + b")K\x01te\x85R",
        # of the sets of protocol 4, and what makes two out of one
        b"\x8f",
        b"(K\x01\x91",
        b")2\x86",
    ],
)
def test_what_hashes_slowly_is_no_key(tmp_path: Path, content: bytes) -> None:
    refusal(zipped(tmp_path / "keys.pt", content))


@pytest.mark.parametrize("opened", [b")" + b"\x85" * 100_000, b"]" * 100_000 + b"a" * 99_999])
def test_deep_nesting_is_refused(tmp_path: Path, opened: bytes) -> None:
    assert "nested too deeply" in refusal(zipped(tmp_path / "deep.pt", opened))


def peak(path: Path) -> tuple[float, str]:
    """MiB that Python took to read a file, and why it did not."""
    tracemalloc.start()
    try:
        read_tensors(path)
        reason = ""
    except ValueError as error:
        reason = str(error)
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return most, reason


def test_a_large_index_takes_no_memory(tmp_path: Path) -> None:
    content = b"K\x01r" + struct.pack("<I", 2**24)
    most, _reason = peak(zipped(tmp_path / "index.pt", content))
    assert most < 4


def test_nothing_is_unpacked(tmp_path: Path) -> None:
    """A thousandth of what it unpacks to is all that a zip file needs."""
    packed = zipped(tmp_path / "a.pt", b"0N" * (8 << 20), how=zipfile.ZIP_DEFLATED)
    order = zipped(tmp_path / "b.pt", pickled_tensor(), order=bytes(16 << 20))
    for path in (packed, order):
        most, reason = peak(path)
        assert "compressed" in reason
        assert most < 4


def test_a_large_table_of_contents_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "table.pt", text("a" * 1000))
    assert read_tensors(path) == "a" * 1000
    monkeypatch.setattr(stored_tensors, "LARGEST_PICKLE", 1000)
    assert "too large" in refusal(path)


def test_endless_reading_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where few steps make much out of what was made before."""
    monkeypatch.setattr(stored_tensors, "MOST_STEPS", 10_000)
    pairs = b"](" + (b"(" + text("a") + b"K\x01t") * 100 + b"eq\x00"
    again = LONG_AGO + b"q\x01" + b"h\x01h\x00\x85R" * 500 + b"t"
    for content in (b"]" + b"Na" * 10_000, b"(" + pairs + again):
        assert "too many steps" in refusal(zipped(tmp_path / "steps.pt", content))


def test_tensors_may_share_numbers_but_not_without_end(tmp_path: Path) -> None:
    numbers = bytes(4 * 4096)
    storage = pickled_storage(elements=whole(4096))
    tensor = pickled_tensor(storage, size=wholes((4096,)))
    shared = read_tensors(zipped(tmp_path / "few.pt", b"](" + tensor * 3 + b"e", numbers))
    assert shared[0].data_ptr() == shared[2].data_ptr()
    assert "overlap" in refusal(zipped(tmp_path / "many.pt", b"](" + tensor * 30 + b"e", numbers))


def test_attributes_of_dictionaries_are_left_out(tmp_path: Path) -> None:
    """Overridden ``items`` would hide what the dictionary holds."""
    attributes = b"}" + text("items") + LONG_AGO + b")Rsb"
    content = LONG_AGO + b")R" + text("a") + pickled_tensor() + b"s" + attributes
    read = read_tensors(zipped(tmp_path / "hidden.pt", content))
    assert read["a"].tolist() == [1, 2, 3, 4]
    assert next(iter(read.items()))[0] == "a"
    assert "sets attributes" in refusal(zipped(tmp_path / "list.pt", b"]" + attributes))


def test_files_of_python_2_are_read(tmp_path: Path) -> None:
    """Strings of bytes, dictionaries as lists of pairs, and numbers of more than four bytes as text."""
    pairs = (
        b"](" + b"](U\x05first" + pickled_tensor(pickled_storage(kind=b"U\x07storage", key=b"U\x010")) + b"ee"
    )
    read = read_tensors(zipped(tmp_path / "old.pt", LONG_AGO + pairs + b"\x85R"))
    assert read["first"].tolist() == [1, 2, 3, 4]
    read = read_tensors(zipped(tmp_path / "ids.pt", b"}I140234567890123\nK\x01s"))
    assert read == {140234567890123: 1}
    assert read_tensors(zipped(tmp_path / "name.pt", b"U\x02\xc3\xa4")) == "ä"


@pytest.mark.parametrize("keys", [[("0",)], [0], ["1"], 7])
def test_odd_lists_of_tensors_are_refused(tmp_path: Path, keys: object) -> None:
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    tail = pickle.dumps(keys, 2) + struct.pack("<q", 4) + NUMBERS
    path = tmp_path / "legacy.pt"
    path.write_bytes(
        b"".join(pickle.dumps(part, 2) for part in head) + START + pickled_tensor() + b"." + tail
    )
    refusal(path)


def test_negative_lengths_of_the_older_container_are_refused(tmp_path: Path) -> None:
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    tensor = pickled_tensor(pickled_storage(dtype="Byte", elements=whole(-1)))
    tail = pickle.dumps(["0"], 2) + struct.pack("<q", -1) + NUMBERS
    path = tmp_path / "legacy.pt"
    path.write_bytes(b"".join(pickle.dumps(part, 2) for part in head) + START + tensor + b"." + tail)
    refusal(path)


def test_refusals_do_not_command_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;x\x07\x1b[2J\u202e"
    path = zipped(tmp_path / "escape.pt", b"cposix\n\x1b]0;x\x07\x1b[2Jsystem\n")
    with pytest.raises(ValueError, match="it wants posix") as raised:
        read_tensors(path)
    printed = "".join(traceback.format_exception(raised.value))
    # with numbers of another name than any file in the archive
    missing = zipped(tmp_path / "missing.pt", pickled_tensor(pickled_storage(key=text(evil))))
    for message in (printed, refusal(missing)):
        assert all(line.isprintable() and line.isascii() for line in message.splitlines())
    assert shown(evil) == r"\x1b]0;x\x07\x1b[2J\u202e"
    assert shown(7) == "7"
    assert len(shown("a" * 10**6)) < 1000
    assert shown_names([evil, 1, "c"], most=2) == rf"{shown(evil)}, 1, and 1 more"
