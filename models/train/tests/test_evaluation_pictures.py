"""Measures of pictures and expressions against values computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")
pytest.importorskip("onnxruntime", reason="only in the training environment (requirements.txt)")
onnx = pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")

from deepfake_train.evaluation import expressions, pictures  # noqa: E402
from deepfake_train.evaluation.identity import (  # noqa: E402
    CHIP,
    FIVE_POINTS,
    Alignment,
    aligned_face,
    identity_distance,
    network_embedding,
)
from deepfake_train.evaluation.lpips import (  # noqa: E402
    BLOCKS,
    SCALE,
    SHIFT,
    Lpips,
    VggFeatures,
    read_linear_weights,
)
from deepfake_train.onnx_graph import GraphWriter  # noqa: E402


def noise(seed: int, size: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def test_l1_and_psnr_of_a_constant_difference() -> None:
    dark, bright = np.full((4, 5, 3), 100, np.uint8), np.full((4, 5, 3), 151, np.uint8)
    assert pictures.l1(bright, dark) == pytest.approx(0.2)
    assert pictures.psnr(bright, dark) == pytest.approx(20 * math.log10(5))


def test_ssim_is_that_of_the_definition() -> None:
    x, y = noise(1), noise(2)
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    for channel in range(3):
        for top in range(10):
            for left in range(10):
                a, b = (
                    picture[top : top + 11, left : left + 11, channel].astype(float) for picture in (x, y)
                )
                mean_a, mean_b = (window * a).sum(), (window * b).sum()
                variances = (window * (a - mean_a) ** 2).sum() + (window * (b - mean_b) ** 2).sum()
                covariance = (window * (a - mean_a) * (b - mean_b)).sum()
                above = (2 * mean_a * mean_b + 6.5025) * (2 * covariance + 58.5225)
                values.append(above / ((mean_a**2 + mean_b**2 + 6.5025) * (variances + 58.5225)))
    assert pictures.ssim(x, y) == pytest.approx(np.mean(values), abs=1e-9)
    assert pictures.ssim(x, x) == pytest.approx(1)


def test_half_the_contrast_is_a_quarter_of_the_sharpness() -> None:
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2] = 200
    assert pictures.sharpness(stripes // 2, stripes) == pytest.approx(0.25)


def face(mouth: float, eyes: float) -> np.ndarray:
    """Points whose mouth and eyes are open by so many pixels; the eyes are 60 px apart, 20 px wide."""
    points = np.zeros((468, 2), np.float32)
    points[[33, 133, 362, 263]] = [(20, 40), (40, 40), (60, 40), (80, 40)]
    points[[159, 386]] = [(30, 40 - eyes / 2), (70, 40 - eyes / 2)]
    points[[145, 374]] = [(30, 40 + eyes / 2), (70, 40 + eyes / 2)]
    points[13], points[14] = (50, 80 - mouth / 2), (50, 80 + mouth / 2)
    points[list(expressions.LIPS)] = (50, 80)
    points[61], points[291] = (40, 80), (60, 80)
    return points


def test_openings_are_ratios() -> None:
    assert expressions.mouth_opening(face(6, 5)) == pytest.approx(0.1)
    assert expressions.eye_opening(face(6, 5)) == pytest.approx(0.25)
    assert expressions.mouth_opening(3 * face(6, 5)) == pytest.approx(0.1)


def test_gain_is_the_slope_within_clips() -> None:
    half = ([0.5, 1.0, 1.5], [1.0, 2.0, 3.0])
    other_level = ([10.5, 11.0], [0.0, 1.0])  # another person's mouth: only its movement counts
    assert expressions.following([half, other_level]) == pytest.approx((0.5, 1.0))
    assert expressions.following([([1.0, 1.0], [0.0, 1.0])]) == (0.0, 0.0)


def test_keypoint_distance_is_the_mean_length() -> None:
    moved = face(6, 5)
    moved[:234] += (3, 4)
    assert expressions.keypoint_distance(moved, face(6, 5)) == pytest.approx(2.5)


def test_regions_hold_what_they_are_named_after() -> None:
    mouth = expressions.mouth_region(face(6, 5), 100)
    assert mouth == (34, 74, 66, 86)
    left, right = expressions.eye_regions(face(6, 5), 100)
    assert left.right < right.left
    assert left.of(np.zeros((100, 100, 3), np.uint8)).shape == (left.bottom - left.top, 32, 3)


@pytest.mark.parametrize("alignment", [FIVE_POINTS, CHIP], ids=["five points", "chip"])
def test_alignment_puts_the_eyes_where_networks_want_them(alignment: Alignment) -> None:
    picture = np.zeros((100, 100, 3), np.uint8)
    points = face(0, 0)
    points[1], points[2] = (50, 62), (50, 66)
    points[61], points[291] = (37, 83), (64, 83)
    eye = points[[33, 133]].mean(0).astype(int)
    picture[eye[1] - 1 : eye[1] + 2, eye[0] - 1 : eye[0] + 2] = 255
    aligned = aligned_face(picture, points, alignment)
    assert aligned.shape == (alignment.side, alignment.side, 3)
    y, x = np.unravel_index(aligned[..., 0].argmax(), aligned.shape[:2])
    wanted = alignment.places[0] if alignment is FIVE_POINTS else alignment.places[:2].mean(0)
    assert np.hypot(*(np.array([x, y]) - wanted)) < 0.04 * alignment.side
    assert identity_distance(np.float32([1, 0]), np.float32([0, 1])) == pytest.approx(2)


def test_an_identity_network_says_by_its_input_how_faces_are_aligned(tmp_path: Path) -> None:
    def network(side: int) -> Path:
        graph = GraphWriter("mean")
        x = graph.input("input", ["N", 3, side, side])
        graph.output(graph.op("ReduceMean", x, axes=[2, 3], keepdims=0), "embedding", ["N", 3])
        onnx.save(graph.model(), tmp_path / f"{side}.onnx")
        return tmp_path / f"{side}.onnx"

    reddish = np.full((100, 100, 3), (0, 0, 255), np.uint8)
    for side in (112, 150):
        embedding = network_embedding(network(side))(reddish, face(6, 5))
        np.testing.assert_allclose(embedding, np.array([1, -1, -1]) / np.sqrt(3), atol=1e-6)
    with pytest.raises(ValueError, match="112x112 or 150x150"):
        network_embedding(network(96))


def test_lpips_is_that_of_the_definition(tmp_path: Path) -> None:
    """Against numpy loops, on a VGG whose blocks have two channels."""
    random, weights, channels = np.random.default_rng(3), {}, 3
    for index in range(sum(BLOCKS)):
        weights[f"w{index}"] = random.normal(0, 0.5, (2, channels, 3, 3)).astype(np.float32)
        weights[f"b{index}"] = random.normal(0.3, 0.2, 2).astype(np.float32)
        channels = 2
    np.savez(tmp_path / "vgg.npz", **weights)
    linear = {f"lin{block}": random.uniform(0, 1, (1, 2, 1, 1)).astype(np.float32) for block in range(5)}
    np.savez(tmp_path / "linear.npz", **linear)

    def convolve(x: np.ndarray, index: int) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        sums = np.einsum("chwij,ocij->ohw", windows, weights[f"w{index}"])
        return np.maximum(sums + weights[f"b{index}"][:, None, None], 0)

    def blocks(picture: np.ndarray) -> list[np.ndarray]:
        x = picture[..., ::-1].transpose(2, 0, 1) / 127.5 - 1
        x = (x - np.reshape(SHIFT, (3, 1, 1))) / np.reshape(SCALE, (3, 1, 1))
        index, ends = 0, []
        for block, count in enumerate(BLOCKS):
            if block:
                x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2).max((2, 4))
            for _ in range(count):
                x = convolve(x, index)
                index += 1
            ends.append(x / (np.sqrt((x**2).sum(0, keepdims=True)) + 1e-10))
        return ends

    a, b = noise(4, 32), noise(5, 32)
    expected = sum(
        (linear[f"lin{block}"][0] * (x - y) ** 2).sum(0).mean()
        for block, (x, y) in enumerate(zip(blocks(a), blocks(b), strict=True))
    )
    features = VggFeatures(tmp_path / "vgg.npz", threads=1)
    lpips = Lpips(read_linear_weights(tmp_path / "linear.npz"))
    assert lpips(features(a), features(b)) == pytest.approx(expected, rel=1e-4)
    assert lpips(features(a), features(a)) == 0
