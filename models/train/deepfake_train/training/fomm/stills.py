"""Portraits with their FaceMesh points and the pose of the head, as they are packed for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

POINT_UNITS, POINT_OFFSET = 64, 256  # packed points are (pixel + 256) * 64


@dataclass(frozen=True)
class Stills:
    """N portraits, all square and of one size.

    ``pictures`` uint8 [N, 3, S, S] RGB; ``points`` [N, 468, 3] in pixels, z away from the camera;
    ``scale`` [N], ``rotation`` [N, 3, 3] and ``shift`` [N, 3]: the pose of the standard head, in whose frame
    x points to the right, y down, z away, in centimetres; ``angles`` [N, 2]: yaw and pitch in degrees;
    ``triangles`` [T, 3]: the mesh.
    """

    pictures: Tensor
    points: Tensor
    scale: Tensor
    rotation: Tensor
    shift: Tensor
    angles: Tensor
    triangles: Tensor

    def __len__(self) -> int:
        return len(self.pictures)

    def to(self, device: torch.device) -> Stills:
        return Stills(**{name: tensor.to(device) for name, tensor in vars(self).items()})

    def own_shapes(self) -> Tensor:
        """The points of each head in the frame of the head, [N, 468, 3], in centimetres."""
        return ((self.points - self.shift[:, None]) @ self.rotation) / self.scale[:, None, None]


def read_stills(path: Path, part: str) -> Stills:
    """The ``train``, ``validation`` or ``test`` part of a pack.

    ``test`` is as marked in the pack; ``validation``, every 20th of the rest, is for choosing between
    trainings, so that the choice does not use up the test.
    """
    with np.load(path) as pack:
        test = pack["test"]
        rest = np.flatnonzero(~test)
        chosen = {
            "train": rest[np.arange(len(rest)) % 20 != 7],
            "validation": rest[np.arange(len(rest)) % 20 == 7],
            "test": np.flatnonzero(test),
        }[part]
        data, offsets, size = pack["data"], pack["off"], int(pack["size"])
        pictures = np.empty((len(chosen), 3, size, size), np.uint8)
        for row, index in enumerate(chosen):
            picture = cv2.imdecode(data[offsets[index] : offsets[index + 1]], cv2.IMREAD_COLOR)
            if picture is None or picture.shape != (size, size, 3):
                raise ValueError(f"{path}: portrait {index} is not {size}x{size}")
            pictures[row] = picture[..., ::-1].transpose(2, 0, 1)
        points = pack["lm"][chosen].astype(np.float32) / POINT_UNITS - POINT_OFFSET
        scale, rotation, shift = (
            torch.from_numpy(pack[name][chosen].astype(np.float32)) for name in ("s", "R", "t")
        )
        return Stills(
            torch.from_numpy(pictures),
            torch.from_numpy(points),
            scale,
            rotation,
            shift,
            torch.from_numpy(pack["euler"][chosen, :2].astype(np.float32)),
            torch.from_numpy(pack["tri"].astype(np.int64)),
        )
