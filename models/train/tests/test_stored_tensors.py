"""Reading files of torch.save: both containers, what is refused, and that nothing in them is run."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")

from deepfake_train.stored_tensors import read_tensors  # noqa: E402

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
