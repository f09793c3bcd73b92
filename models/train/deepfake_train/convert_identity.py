"""dlib's face recognition network as an ONNX graph, for the identity distance of ``evaluate fomm``.

``dlib_face_recognition_resnet_model_v1.dat`` (public domain, CC0) is a ResNet of 29 convolutions that makes
128 numbers of a face of 150x150 pixels: below 0.6 apart is the same person, says its author. The file holds
dlib's own serialisation of a chain of layers, each one after what it is stacked on. Only tensors with numbers
in them matter here, so those are searched for by the sizes that the network is known to have, in their order;
all of them must be there, and nothing that is no tensor is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from .onnx_graph import GraphWriter

Numbers = NDArray[np.float32]

SIDE, LENGTH = 150, 128
COLOUR_MEANS = (122.782, 117.001, 104.298)
COLOUR_SCALE = 256.0
VERSION = b"\x01\x02"
"""Of a serialised tensor: 2, as dlib writes whole numbers, the count of their bytes first."""


@dataclass(frozen=True)
class Block:
    """Two convolutions of 3x3 beside a way around them; ``halves`` the picture's side, or not."""

    channels: int
    halves: bool


def _blocks(channels: int, plain: int, *, halves: bool) -> list[Block]:
    return [*([Block(channels, True)] if halves else []), *[Block(channels, False)] * plain]


BLOCKS = (
    *_blocks(32, 3, halves=False),
    *_blocks(64, 3, halves=True),
    *_blocks(128, 2, halves=True),
    *_blocks(256, 2, halves=True),
    *_blocks(256, 0, halves=True),
)
FIRST = 32
"""Channels of the first convolution, 7x7 with stride 2."""


class NotDlibError(ValueError):
    """The file does not hold this network."""


class _Tensors:
    """The tensors of a file, one after the other."""

    def __init__(self, path: Path) -> None:
        self._path, self._data, self._place = path, path.read_bytes(), 0

    def take(self, rows: int, columns: int = 1) -> Numbers:
        """The next tensor of [rows, columns]; what lies before it is skipped."""
        header = VERSION + b"".join(_packed(size) for size in (rows, columns, 1, 1))
        found = self._data.find(header, self._place)
        first, last = found + len(header), found + len(header) + 4 * rows * columns
        if found < 0 or last > len(self._data):
            raise NotDlibError(
                f"{self._path}: no tensor of {rows}x{columns} where "
                "dlib_face_recognition_resnet_model_v1 has one"
            )
        self._place = last
        numbers = np.frombuffer(self._data, "<f4", rows * columns, first).astype(np.float32)
        if not np.isfinite(numbers).all():
            raise NotDlibError(f"{self._path}: a tensor of {rows}x{columns} has numbers that are not finite")
        return numbers.reshape(rows, columns)

    def convolution(self, inputs: int, outputs: int, kernel: int) -> tuple[Numbers, Numbers]:
        """Weight [outputs, inputs, kernel, kernel] and bias of a convolution and the affine layer on it."""
        size = outputs * inputs * kernel**2
        both = self.take(size + outputs).ravel()
        gamma, beta = self.take(2 * outputs).reshape(2, outputs)
        weight = both[:size].reshape(outputs, inputs, kernel, kernel)
        return weight * gamma[:, None, None, None], both[size:] * gamma + beta


def _packed(number: int) -> bytes:
    """A whole number as dlib writes it: how many bytes, then these, the lowest first."""
    digits = number.to_bytes((number.bit_length() + 7) // 8, "little")
    return bytes([len(digits)]) + digits


def identity_graph(path: Path) -> onnx.ModelProto:
    """``input`` [N,3,150,150], RGB in -1..1 -> ``embedding`` [N,128].

    Raises ``NotDlibError`` for files that hold something else, and ``OSError``.
    """
    tensors = _Tensors(path)
    graph = GraphWriter("dlib-identity")
    x = graph.input("input", ["N", 3, SIDE, SIDE])
    half = 127.5
    x = graph.op("Mul", x, graph.constant(half / COLOUR_SCALE))
    offset = (half - np.array(COLOUR_MEANS)) / COLOUR_SCALE
    x = graph.op("Add", x, graph.constant(offset.reshape(1, 3, 1, 1)))
    x = graph.op("Relu", graph.conv(x, *tensors.convolution(3, FIRST, 7), stride=2))
    x = graph.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    channels, side = FIRST, ((SIDE - 7) // 2 + 1 - 3) // 2 + 1
    for block in BLOCKS:
        stride, padding = (2, 0) if block.halves else (1, 1)
        y = graph.conv(x, *tensors.convolution(channels, block.channels, 3), stride=stride, padding=padding)
        y = graph.conv(
            graph.op("Relu", y), *tensors.convolution(block.channels, block.channels, 3), padding=1
        )
        if block.halves:
            x = graph.op("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
            # dlib adds maps of different sizes as if zeros lay around the smaller one, below and to the right
            painted, passed = (side - 3) // 2 + 1, (side - 2) // 2 + 1
            side = max(painted, passed)
            y = _grown(graph, y, 0, side - painted)
            x = _grown(graph, x, block.channels - channels, side - passed)
        x, channels = graph.op("Relu", graph.op("Add", x, y)), block.channels
    x = graph.op("Flatten", graph.op("GlobalAveragePool", x))
    x = graph.op("MatMul", x, graph.constant(tensors.take(channels, LENGTH)))
    graph.output(x, "embedding", ["N", LENGTH])
    return graph.model()


def _grown(graph: GraphWriter, x: str, channels: int, cells: int) -> str:
    """With so many channels, rows and columns of zeros more."""
    if not channels and not cells:
        return x
    return graph.op("Pad", x, graph.constant([0, 0, 0, 0, 0, channels, cells, cells]))


def convert_identity(path: Path, out: Path) -> None:
    """Writes `identity_graph` to the file ``out``."""
    onnx.save(identity_graph(path), out)
