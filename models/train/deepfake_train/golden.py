"""Golden data: seeded inputs and the outputs that a reference implementation gives for them.

``golden/README.md`` describes the files; the Rust tests read them too. Everything here needs only numpy.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

MULTIPLIER, INCREMENT, MODULUS = 1664525, 1013904223, 1 << 32
LARGEST_FILE = 300 * 1024


def random_values(seed: int, count: int) -> Floats:
    """``count`` numbers in [0, 1) from a linear congruential generator.

    x = x * 1664525 + 1013904223 mod 2^32, starting at the seed; value = (x >> 8) / 2^24.
    """
    block = min(count, 4096)
    # x[i] = a[i] * seed + c[i]: one block by the definition, whole blocks by the same affine map
    a, c = np.empty(block, np.uint64), np.empty(block, np.uint64)
    factor, offset = 1, 0
    for index in range(block):
        factor, offset = factor * MULTIPLIER % MODULUS, (offset * MULTIPLIER + INCREMENT) % MODULUS
        a[index], c[index] = factor, offset
    state, blocks = np.uint64(seed % MODULUS), []
    for _ in range(math.ceil(count / block)):
        x = (a * state + c) % np.uint64(MODULUS)
        blocks.append(x)
        state = x[-1]
    values = np.concatenate(blocks)[:count]
    return ((values >> np.uint64(8)).astype(np.float64) / 2**24).astype(np.float32)


@dataclass(frozen=True)
class Seeded:
    """An input made from a seed: low + (high - low) * value, in row-major order."""

    shape: tuple[int, ...]
    seed: int
    low: float = 0.0
    high: float = 1.0

    def tensor(self) -> Floats:
        values = random_values(self.seed, math.prod(self.shape))
        low, high = np.float32(self.low), np.float32(self.high)
        return (low + (high - low) * values).reshape(self.shape)


@dataclass(frozen=True)
class Case:
    """A graph of the zoo with inputs and the expected, thinned-out outputs."""

    model: str
    file: str
    reference: str
    tolerance: float
    inputs: Mapping[str, Floats]
    outputs: Mapping[str, tuple[int, Floats]]

    def errors(self, produced: Mapping[str, Floats]) -> dict[str, float]:
        """Largest absolute difference of each output."""
        found = {}
        for name, (stride, expected) in self.outputs.items():
            actual = produced[name].reshape(-1)[::stride]
            found[name] = float(np.abs(actual - expected).max())
        return found


def thinning(size: int) -> int:
    """A stride, prime to the usual powers of two and three, that keeps a file of floats below the limit."""
    stride = 1
    while math.ceil(size / stride) * 4 > LARGEST_FILE:
        stride = stride + 1 if stride == 1 else stride + 2
        while math.gcd(stride, 6) != 1:
            stride += 1
    return stride


def write_case(
    folder: Path,
    *,
    model: str,
    file: str,
    reference: str,
    inputs: Mapping[str, Seeded | Floats],
    outputs: Mapping[str, Floats],
    tolerance: float = 1e-4,
) -> None:
    """Writes ``folder/<model>/<graph>.toml`` and its data files; inputs that are arrays are stored whole."""
    place = folder / model
    place.mkdir(parents=True, exist_ok=True)
    stem = Path(file).stem
    lines = [
        f'model = "{model}"',
        f'file = "{file}"',
        f'reference = "{reference}"',
        f"tolerance = {tolerance}",
    ]
    for name, value in inputs.items():
        lines += ["", "[[input]]", f'name = "{name}"']
        if isinstance(value, Seeded):
            lines += [
                f"shape = {list(value.shape)}",
                f"seed = {value.seed}",
                f"low = {value.low}",
                f"high = {value.high}",
            ]
        else:
            lines += [
                f"shape = {list(value.shape)}",
                f'data = "{_store(place, f"{stem}.{name}.bin", value)}"',
            ]
    for name, value in outputs.items():
        stride = thinning(value.size)
        data = _store(place, f"{stem}.{name}.bin", value.reshape(-1)[::stride])
        lines += [
            "",
            "[[output]]",
            f'name = "{name}"',
            f"shape = {list(value.shape)}",
            f"stride = {stride}",
            f'data = "{data}"',
        ]
    (place / f"{stem}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def read_case(path: Path) -> Case:
    """A case with its inputs made or read."""
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    inputs = {entry["name"]: _input(path.parent, entry) for entry in content["input"]}
    outputs = {
        entry["name"]: (entry["stride"], _load(path.parent / entry["data"])) for entry in content["output"]
    }
    return Case(
        content["model"], content["file"], content["reference"], content["tolerance"], inputs, outputs
    )


def cases(folder: Path) -> Sequence[Path]:
    """All cases below the golden folder that belong to graphs of the zoo."""
    return sorted(path for path in folder.glob("*/*.toml") if "[[input]]" in path.read_text(encoding="utf-8"))


def _input(place: Path, entry: Mapping[str, Any]) -> Floats:
    shape = tuple(entry["shape"])
    if "data" in entry:
        return _load(place / entry["data"]).reshape(shape)
    return Seeded(shape, entry["seed"], entry["low"], entry["high"]).tensor()


def _store(place: Path, name: str, values: Floats) -> str:
    (place / name).write_bytes(values.astype("<f4").tobytes())
    return name


def _load(path: Path) -> Floats:
    return np.fromfile(path, dtype="<f4").astype(np.float32)
