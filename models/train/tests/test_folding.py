"""The rewritten convolutions equal the straightforward ones, borders included."""

from __future__ import annotations

import numpy as np
import pytest

from deepfake_train.folding import (
    Array,
    conv_then_norm,
    phase_kernel,
    phase_mask,
    separate,
    upsampling_phases,
)


def convolution(x: Array, weight: Array, padding: int) -> Array:
    """[C, H, W] by the definition."""
    padded = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(1, 2))
    return np.einsum("chwyx,ocyx->ohw", windows, weight)


def depth_to_space(x: Array) -> Array:
    channels, height, width = x.shape
    blocks = x.reshape(2, 2, channels // 4, height, width)
    return blocks.transpose(2, 3, 0, 4, 1).reshape(channels // 4, 2 * height, 2 * width)


def test_phases_equal_upsampling_then_convolution() -> None:
    random = np.random.default_rng(1)
    x, weight = random.normal(size=(3, 5, 5)), random.normal(size=(2, 3, 3, 3))
    expected = convolution(x.repeat(2, 1).repeat(2, 2), weight, 1)
    phases = convolution(x, upsampling_phases(weight), 1)
    assert np.allclose(depth_to_space(phases)[:, 1:-1, 1:-1], expected)


@pytest.mark.parametrize("size", [3, 7])
def test_kernel_on_phases_equals_kernel_on_the_large_map(size: int) -> None:
    random = np.random.default_rng(2)
    x, up = random.normal(size=(3, 6, 6)), random.normal(size=(2, 3, 3, 3))
    final = random.normal(size=(3, 2, size, size))
    large = np.maximum(convolution(x.repeat(2, 1).repeat(2, 2), up, 1) + 0.5, 0)
    expected = convolution(large, final, size // 2)
    phases = np.maximum(convolution(x, upsampling_phases(up), 1) + 0.5, 0)
    masked = (phases.reshape(4, 2, 7, 7) * phase_mask(7)).reshape(8, 7, 7)
    assert np.allclose(depth_to_space(convolution(masked, phase_kernel(final), (size - 3) // 4)), expected)


def test_only_kernels_that_fill_cells_are_taken() -> None:
    with pytest.raises(ValueError, match="fill whole cells"):
        phase_kernel(np.zeros((1, 1, 5, 5)))
    with pytest.raises(ValueError, match="3x3"):
        upsampling_phases(np.zeros((1, 1, 5, 5)))


def test_norm_folds_into_the_convolution_before_it() -> None:
    random = np.random.default_rng(3)
    tensors = {
        "c.weight": random.normal(size=(2, 3, 3, 3)),
        "c.bias": random.normal(size=2),
        "n.weight": random.normal(size=2),
        "n.bias": random.normal(size=2),
        "n.running_mean": random.normal(size=2),
        "n.running_var": random.uniform(0.5, 2, size=2),
    }
    x = random.normal(size=(3, 4, 4))
    y = convolution(x, tensors["c.weight"], 1) + tensors["c.bias"][:, None, None]
    y = (y - tensors["n.running_mean"][:, None, None]) / np.sqrt(tensors["n.running_var"] + 1e-5)[
        :, None, None
    ]
    y = y * tensors["n.weight"][:, None, None] + tensors["n.bias"][:, None, None]
    weight, bias = conv_then_norm(tensors, "c", "n")
    assert np.allclose(convolution(x, weight, 1) + bias[:, None, None], y)


def test_separable_kernels_are_separated_and_others_refused() -> None:
    line = np.array([1.0, 2.0, 1.0])
    column, row = separate(np.outer(line, line))
    assert np.allclose(np.outer(column, row), np.outer(line, line))
    with pytest.raises(ValueError, match="not separable"):
        separate(np.eye(3))
