"""A sheet to look at: source, driving picture, result."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...fomm import Fomm
from .pairs import Pairs

ACROSS = 2
"""Pairs beside each other."""


@torch.no_grad()
def sample_sheet(model: Fomm, pairs: Pairs) -> NDArray[np.uint8]:
    """BGR bytes: of each pair the source and the driving picture with their key-points, and the result."""
    rows = []
    # one after the other: a sheet must not need more memory than a step
    for source, driving in zip(pairs.source.split(1), pairs.driving.split(1), strict=True):
        in_source, in_driving = model.keypoint_detector(source), model.keypoint_detector(driving)
        made = model.generator(source, in_source, in_driving)
        rows.append(
            np.hstack((_dotted(source, in_source.value), _dotted(driving, in_driving.value), _bytes(made)))
        )
    rows += [np.zeros_like(rows[0])] * (-len(rows) % ACROSS)
    return np.vstack([np.hstack(rows[index : index + ACROSS]) for index in range(0, len(rows), ACROSS)])


def _bytes(picture: Tensor) -> NDArray[np.uint8]:
    """BGR bytes of one picture [1, 3, S, S]."""
    values = picture[0].float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()[..., ::-1]
    return np.ascontiguousarray((values * 255 + 0.5).astype(np.uint8))


def _dotted(picture: Tensor, keypoints: Tensor) -> NDArray[np.uint8]:
    """The same with a dot of its own colour at each key-point [1, K, 2]."""
    canvas = _bytes(picture)
    places = (keypoints[0].float().cpu().numpy() + 1) * ((canvas.shape[0] - 1) / 2)
    hues = np.linspace(0, 179, len(places), endpoint=False).astype(np.uint8)
    colours = cv2.cvtColor(np.stack((hues, *[np.full_like(hues, 255)] * 2), -1)[None], cv2.COLOR_HSV2BGR)[0]
    for (x, y), colour in zip(places, colours, strict=True):
        cv2.circle(canvas, (round(float(x)), round(float(y))), 2, colour.tolist(), -1, cv2.LINE_AA)
    return canvas
