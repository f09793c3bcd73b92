"""Scores that can be read as probabilities, by Platt's scaling."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Truth = NDArray[np.bool_]

_STEPS = 100


class Calibration(NamedTuple):
    """What a logit is multiplied by, and what is added then, before the sigmoid."""

    scale: float = 1.0
    offset: float = 0.0

    def probabilities(self, logits: Floats) -> Floats:
        """Of being a fake."""
        return sigmoid(self.scale * np.asarray(logits, np.float64) + self.offset)


def sigmoid(values: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(values, np.float64)))


def class_weights(fake: Truth) -> Floats:
    """As if there were as many fakes as real pictures: what a score means must not hang on how many happen to
    be in a data set."""
    share = fake.mean()
    if share in (0.0, 1.0):
        raise ValueError("both real pictures and fakes are needed")
    return np.where(fake, 0.5 / share, 0.5 / (1 - share))


def calibrate(logits: Floats, fake: Truth) -> Calibration:
    """The scale and offset with the highest likelihood on pictures that were held out, both classes weighing
    the same; by Newton's method."""
    x = np.column_stack((np.asarray(logits, np.float64), np.ones(len(logits))))
    y, weight = np.asarray(fake, np.float64), class_weights(fake) / len(logits)
    found = np.array([1.0, 0.0])

    def loss(at: Floats) -> float:
        z = x @ at
        # perfectly separable data would send the scale to infinity, which is no probability to promise
        return float((weight * (np.logaddexp(0, z) - y * z)).sum()) + 1e-4 * float(at[0]) ** 2

    for _ in range(_STEPS):
        p = sigmoid(x @ found)
        gradient = x.T @ (weight * (p - y)) + np.array([2e-4 * found[0], 0])
        curvature = (x * (weight * p * (1 - p))[:, None]).T @ x + np.diag([2e-4, 1e-9])
        move, length, now = np.linalg.solve(curvature, gradient), 1.0, loss(found)
        while loss(found - length * move) > now and length > 1e-6:
            length /= 2
        found = found - length * move
        if np.abs(move).max() < 1e-9:
            break
    return Calibration(float(found[0]), float(found[1]))
