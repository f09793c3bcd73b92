"""Random expressions: how the FaceMesh points of a head move in its own frame."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..landmarks import LOWER_LIDS, POINTS, UPPER_LIDS


class Habit(NamedTuple):
    """How often a shape takes part in an expression, and how much: uniform in ``low``..``high``."""

    often: float
    low: float
    high: float


# Shapes with a left and a right half get nearly the same weight on both. Not from data: chosen so that
# every shape is seen, and the jaw, on which speech hangs, most of all.
HABITS: dict[str, Habit] = {
    "jawOpen": Habit(0.6, -0.1, 0.55),
    "jawLeft": Habit(0.1, -0.3, 0.3),
    "mouthSmile": Habit(0.4, -0.3, 0.7),
    "mouthStretch": Habit(0.25, 0.0, 0.5),
    "mouthPucker": Habit(0.25, 0.0, 0.7),
    "mouthFunnel": Habit(0.25, 0.0, 0.6),
    "mouthUpperUp": Habit(0.25, 0.0, 0.5),
    "mouthLowerDown": Habit(0.3, 0.0, 0.6),
    "mouthFrown": Habit(0.2, 0.0, 0.5),
    "mouthPress": Habit(0.2, 0.0, 0.6),
    "mouthLeft": Habit(0.1, 0.0, 0.4),
    "mouthRight": Habit(0.1, 0.0, 0.4),
    "browInnerUp": Habit(0.3, -0.4, 0.8),
    "browOuterUp": Habit(0.3, -0.3, 0.8),
    "browDown": Habit(0.25, 0.0, 0.7),
    "cheekRaiser": Habit(0.2, 0.0, 0.6),
    "noseSneer": Habit(0.1, 0.0, 0.4),
    "eyeWide": Habit(0.15, 0.0, 0.7),
}
UNEVEN = 0.2  # standard deviation of the difference between the halves, relative
BLINKS, CLOSED, WINKS = 0.4, 0.5, 0.06  # of all faces; of those that blink; of those, with one eye
GAZE = (0.18, 0.08)  # standard deviation in centimetres
GAZE_REACH = 0.35


@dataclass(frozen=True)
class Expression:
    """M expressions: ``moves`` [M, 468, 3] and ``gaze`` [M, 2] in centimetres, ``blink`` [M, 2] in 0..1.

    ``blink`` is the part of the way that the upper lids, left and right, go down to the lower ones.
    """

    moves: Tensor
    gaze: Tensor
    blink: Tensor

    def toward(self, other: Expression, part: float | Tensor) -> Expression:
        """This expression and ``part`` [M] of the way to another one."""
        part = torch.as_tensor(part, device=self.gaze.device, dtype=self.gaze.dtype).reshape(-1, 1)
        return Expression(
            torch.lerp(self.moves, other.moves, part[..., None].expand_as(self.moves)),
            torch.lerp(self.gaze, other.gaze, part.expand_as(self.gaze)),
            torch.lerp(self.blink, other.blink, part.expand_as(self.blink)),
        )


class ShapesError(ValueError):
    """A file is not one of shapes of expressions."""


class ExpressionSource(Protocol):
    """Where expressions come from."""

    def draw(self, count: int, generator: torch.Generator) -> Expression:
        """``count`` expressions, the same ones for the same state of the generator."""


class Expressions:
    """Draws expressions out of the shapes of a file: ``names`` [K], ``expr`` [K, 468, 3] in centimetres.

    The names are those of `HABITS`, or of their halves (``jawOpen`` or ``jawOpen_L`` and ``jawOpen_R``).
    Without a file only lids and gaze move. Raises ``ShapesError`` if the file lacks something.
    """

    def __init__(self, path: Path | None, device: torch.device) -> None:
        self._habits = list(HABITS.values())
        halves = np.zeros((len(HABITS), 2, POINTS, 3), np.float32) if path is None else _read_halves(path)
        self._shapes = torch.from_numpy(halves).to(device)
        self.device = device

    def draw(self, count: int, generator: torch.Generator) -> Expression:
        """``count`` expressions."""

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=generator, device=self.device)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, device=self.device)

        often, low, high = torch.tensor(self._habits, device=self.device).unbind(1)
        shape = (count, len(self._habits))
        weight = (uniform(*shape) < often) * (low + (high - low) * uniform(*shape))
        uneven = UNEVEN * normal(*shape)
        sides = torch.stack((weight * (1 + uneven), weight * (1 - uneven)), -1)
        moves = torch.einsum("mhs,hsic->mic", sides, self._shapes)
        closed = uniform(count) < CLOSED
        amount = (uniform(count) < BLINKS) * torch.where(closed, 0.85 + 0.15 * uniform(count), uniform(count))
        wink = uniform(count)
        both = torch.stack((wink > WINKS / 2, wink < 1 - WINKS / 2), 1)
        gaze = (uniform(count, 1) < 0.5) * normal(count, 2) * torch.tensor(GAZE, device=self.device)
        return Expression(moves, gaze.clamp(-GAZE_REACH, GAZE_REACH), amount[:, None] * both)


def _read_halves(path: Path) -> NDArray[np.float32]:
    """Of every habit the left and the right half: [H, 2, 468, 3]."""
    with np.load(path) as content:
        if missing := {"names", "expr"} - set(content.files):
            raise ShapesError(f"{path}: no {' and no '.join(sorted(missing))}")
        names = [str(name) for name in content["names"]]
        shapes = content["expr"].astype(np.float32)
    if shapes.shape != (len(names), POINTS, 3):
        raise ShapesError(f"{path}: {len(names)} names for shapes {shapes.shape}")
    row = {name: index for index, name in enumerate(names)}
    halves = []
    for name in HABITS:
        sides = [name] * 2 if name in row else [f"{name}_L", f"{name}_R"]
        if lost := sorted(set(sides) - row.keys()):
            raise ShapesError(f"{path}: neither {name} nor {' and '.join(lost)}")
        # a shape that is whole is half on both sides
        halves.append(shapes[[row[side] for side in sides]] * (0.5 if name in row else 1.0))
    return np.stack(halves)


def still_expression(count: int, device: torch.device) -> Expression:
    """Faces as they are in their portraits."""
    return Expression(
        torch.zeros(count, POINTS, 3, device=device),
        torch.zeros(count, 2, device=device),
        torch.zeros(count, 2, device=device),
    )


def close_lids(points: Tensor, blink: Tensor) -> Tensor:
    """Points [M, 468, 3] with the upper lids, and a little the lower ones, closed by ``blink`` [M, 2]."""
    points = points.clone()
    for side, (upper, lower) in enumerate(zip(UPPER_LIDS, LOWER_LIDS, strict=True)):
        top, bottom = points[:, list(upper)], points[:, list(lower)]
        amount = blink[:, side, None, None]
        meeting = torch.lerp(top, bottom, 0.9)
        points[:, list(upper)] = torch.lerp(top, meeting, amount)
        points[:, list(lower)] = torch.lerp(bottom, meeting, 0.9 * amount)
    return points
