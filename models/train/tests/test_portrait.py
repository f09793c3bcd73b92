"""Geometry of the portrait average."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")

from deepfake_train.average_portrait import Layout, mean_shape, similarity
from deepfake_train.faces import square
from deepfake_train.thin_plate import thin_plate_map


def test_similarity_is_recovered() -> None:
    points = np.random.default_rng(1).normal(size=(20, 2)).astype(np.float32)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]]) * 2.5
    matrix, offset = similarity(points, points @ turn.T + (3, -4))
    assert np.allclose(matrix, turn, atol=1e-5)
    assert np.allclose(offset, (3, -4), atol=1e-5)


def test_mean_shape_is_level_and_placed_as_asked() -> None:
    random = np.random.default_rng(2)
    shape = random.uniform(-1, 1, size=(468, 2)).astype(np.float32)
    shape[33], shape[263] = (-0.5, -0.2), (0.5, 0.2)
    layout = Layout(size=100, face=0.5, middle=(0.5, 0.4))
    mean = mean_shape([shape, 3 * shape + 1], layout)
    assert mean[33, 1] == pytest.approx(mean[263, 1])


def test_thin_plate_meets_its_points() -> None:
    at = np.array([[10.0, 10], [50, 12], [30, 50], [12, 44], [60, 60]])
    to = at + np.array([[2, 0], [0, 3], [-4, 1], [0, 0], [1, 1]])
    where = thin_plate_map(at, to, 64, step=1)
    for point, target in zip(at.astype(int), to, strict=True):
        assert where[point[1], point[0]] == pytest.approx(target, abs=1e-3)


def test_square_maps_its_pixels_back_to_the_picture() -> None:
    y, x = np.mgrid[0:40, 0:60]
    picture = np.stack((x, y, 0 * x), -1).astype(np.uint8)
    patch, back = square(picture, 30.0, 20.0, 16.0, 16)
    assert np.allclose(back @ (7.5, 7.5, 1), (30, 20))
    assert patch[0, 0, 0] == pytest.approx(22.5, abs=0.5)
    assert patch[0, 0, 1] == pytest.approx(12.5, abs=0.5)
