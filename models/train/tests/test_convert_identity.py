"""dlib's face recognition network: read out of dlib's own container, and computed as dlib computes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
onnxruntime = pytest.importorskip("onnxruntime", reason="only in the training environment")

from torch.nn import functional  # noqa: E402

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.convert_identity import BLOCKS, LENGTH, SIDE, NotDlibError, identity_graph  # noqa: E402

Layer = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _whole(number: int) -> bytes:
    count = max(1, (number.bit_length() + 7) // 8)
    return bytes([count]) + number.to_bytes(count, "little")


def _tensor(values: torch.Tensor) -> bytes:
    rows, columns = values.shape
    header = b"".join(_whole(number) for number in (2, rows, columns, 1, 1))
    return header + values.numpy().astype("<f4").tobytes()


def _layers() -> tuple[list[Layer], torch.Tensor]:
    """Weight, bias, gamma and beta of all convolutions, of random numbers, and the last matrix."""
    random = torch.Generator().manual_seed(2)
    shapes, channels = [(32, 3, 7)], 32
    for block in BLOCKS:
        shapes += [(block.channels, channels, 3), (block.channels, block.channels, 3)]
        channels = block.channels
    layers = []
    for outputs, inputs, kernel in shapes:
        weight = torch.randn(outputs, inputs, kernel, kernel, generator=random) / (inputs * kernel**2) ** 0.5
        bias, beta = (0.1 * torch.randn(outputs, generator=random) for _ in range(2))
        layers.append((weight, bias, 1 + 0.2 * torch.randn(outputs, generator=random), beta))
    return layers, torch.randn(channels, LENGTH, generator=random)


def _file(path: Path) -> tuple[list[Layer], torch.Tensor]:
    """A file as dlib writes it: names of layers, tensors, and empty tensors of what training left."""
    layers, matrix = _layers()
    empty = b"".join(map(_whole, (2, 0, 0, 0, 0)))
    content = _whole(1) + b"\x01\x15input_rgb_image_sized"
    for weight, bias, gamma, beta in layers:
        both = torch.cat((weight.flatten(), bias))[:, None]
        content += b"\x01\x05con_4" + _tensor(both) + _whole(weight.shape[0]) + empty
        content += b"\x01\x07affine_" + _tensor(torch.cat((gamma, beta))[:, None]) + empty
    path.write_bytes(content + b"\x01\x04fc_2" + _whole(LENGTH) + _tensor(matrix) + empty)
    return layers, matrix


def _as_dlib(pictures: torch.Tensor, layers: list[Layer], matrix: torch.Tensor) -> torch.Tensor:
    """The network in PyTorch, one operation after the other, of RGB pictures in 0..255."""
    remaining = iter(layers)

    def conv(x: torch.Tensor, stride: int) -> torch.Tensor:
        weight, bias, gamma, beta = next(remaining)
        x = functional.conv2d(
            x, weight, bias, stride=stride, padding=0 if stride == 2 else weight.shape[-1] // 2
        )
        return x * gamma[:, None, None] + beta[:, None, None]

    x = (pictures - torch.tensor([122.782, 117.001, 104.298])[:, None, None]) / 256
    x = functional.max_pool2d(functional.relu(conv(x, 2)), 3, 2)
    for block in BLOCKS:
        y = conv(functional.relu(conv(x, 2 if block.halves else 1)), 1)
        if block.halves:
            x = functional.avg_pool2d(x, 2, 2)
            size = torch.tensor([x.shape, y.shape]).amax(0)
            padded = []
            for part in (x, y):
                whole = torch.zeros(*size)
                whole[:, : part.shape[1], : part.shape[2], : part.shape[3]] = part
                padded.append(whole)
            x, y = padded
        x = functional.relu(x + y)
    return x.mean((2, 3)) @ matrix


def test_the_graph_computes_what_dlib_computes(tmp_path: Path) -> None:
    layers, matrix = _file(tmp_path / "network.dat")
    main(["convert", "identity", str(tmp_path / "network.dat"), "--out", str(tmp_path / "identity.onnx")])
    pictures = 255 * torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(
        str(tmp_path / "identity.onnx"), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, {"input": (pictures.numpy() - 127.5) / 127.5})
    wanted = _as_dlib(pictures, layers, matrix).numpy()
    assert np.abs(found - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.dat"
    _file(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NotDlibError, match=r"no tensor of"):
        identity_graph(path)
    path.write_bytes(b"")
    with pytest.raises(NotDlibError, match=r"no tensor of"):
        identity_graph(path)
