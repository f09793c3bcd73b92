"""Rewrites of convolutions that leave their result as it is: batch norms folded in, upsampling made cheap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BATCH_NORM_EPSILON = 1e-5

Array = NDArray[Any]
Tensors = Mapping[str, Array]

# Which of the two low-resolution pixels each tap of a row falls on, by phase of the output: row 2P-1 has its
# centre tap on the upper of the two, row 2P on the lower.
_TAPS = np.array([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]], dtype=np.float64)


def batch_norm_affine(tensors: Tensors, prefix: str) -> tuple[Array, Array]:
    """(scale, shift) per channel of a batch norm in inference."""
    variance = tensors[f"{prefix}.running_var"].astype(np.float64)
    scale = tensors[f"{prefix}.weight"] / np.sqrt(variance + BATCH_NORM_EPSILON)
    shift = tensors[f"{prefix}.bias"] - tensors[f"{prefix}.running_mean"] * scale
    return scale, shift


def conv_then_norm(tensors: Tensors, conv: str, norm: str) -> tuple[Array, Array]:
    """Weight and bias of the one convolution that equals ``conv`` followed by batch norm ``norm``."""
    scale, shift = batch_norm_affine(tensors, norm)
    weight = tensors[f"{conv}.weight"] * scale[:, None, None, None]
    return weight, tensors[f"{conv}.bias"] * scale + shift


def upsampling_phases(weight: Array) -> Array:
    """2x2 kernels equal to nearest x2 followed by a 3x3 convolution with padding 1.

    Two of the three taps of a row always fall on the same low-resolution pixel, so they are added beforehand:
    4 products instead of 9. Applied with padding 1, cell (P, Q) of the (H+1)x(W+1) result holds four
    neighbouring pixels of the large map, rows 2P-1 and 2P by columns 2Q-1 and 2Q, as channels (row phase,
    column phase, output). Zero padding means the same on both sides; see ``phase_mask`` for the pixels that
    lie outside the large map.
    """
    outputs, inputs, height, width = weight.shape
    if (height, width) != (3, 3):
        raise ValueError(f"only 3x3 kernels can be split into phases, not {height}x{width}")
    return np.einsum("pay,qbx,oiyx->pqoiab", _TAPS, _TAPS, weight).reshape(4 * outputs, inputs, 2, 2)


def from_upsampling_phases(kernels: Array) -> Array:
    """The 3x3 convolution that ``upsampling_phases`` was given."""
    outputs, inputs = kernels.shape[0] // 4, kernels.shape[1]
    taps = np.linalg.pinv(_TAPS.reshape(4, 3)).reshape(3, 2, 2)
    return np.einsum("ypa,xqb,pqoiab->oiyx", taps, taps, kernels.reshape(2, 2, outputs, inputs, 2, 2))


def phase_mask(cells: int) -> Array:
    """[4, 1, cells, cells]: 0 where ``upsampling_phases`` gives a pixel outside the large map, else 1."""
    inside = np.ones((2, cells))
    inside[0, 0] = inside[1, -1] = 0.0
    return np.einsum("py,qx->pqyx", inside, inside).reshape(4, 1, cells, cells)


def phase_kernel(weight: Array) -> Array:
    """A convolution that reads the cells of ``upsampling_phases`` and writes 2x2 pixels at once.

    Equal to the odd-sized ``weight`` (N x N, padding N // 2) on the large map. Apply with padding (N - 3) //
    4; the channels of the result are ready for ``DepthToSpace(blocksize=2, mode="DCR")``. Besides leaving the
    large map unwritten it has four times as many output channels on a quarter of the pixels, which suits
    runtimes that work on 8 or 16 output channels at a time.
    """
    outputs, inputs, size, _ = weight.shape
    if size % 4 != 3:
        raise ValueError(f"kernels of 3, 7, 11.. fill whole cells, {size} does not")
    cells = (size + 1) // 2
    # output row 2i+a reads row 2i+a-N//2+k, which is phase (a+k) % 2 of cell i+(a+k)//2-(N-3)//4
    taps = np.zeros((2, 2, cells, size))
    for a in range(2):
        for k in range(size):
            taps[a, (a + k) % 2, (a + k) // 2, k] = 1.0
    kernel = np.einsum("apsy,bqtx,oiyx->abopqist", taps, taps, weight, optimize=True)
    return kernel.reshape(4 * outputs, 4 * inputs, cells, cells)


def from_phase_kernel(kernel: Array) -> Array:
    """The odd-sized convolution that ``phase_kernel`` was given."""
    outputs, inputs, cells = kernel.shape[0] // 4, kernel.shape[1] // 4, kernel.shape[2]
    # the first of the four output pixels reads every tap once: tap k is phase k % 2 of cell k // 2
    first = kernel[:outputs].reshape(outputs, 2, 2, inputs, cells, cells)
    taps = first.transpose(0, 3, 4, 1, 5, 2).reshape(outputs, inputs, 2 * cells, 2 * cells)
    return taps[:, :, :-1, :-1]


def separate(kernel: Array) -> tuple[Array, Array]:
    """(column, row) whose outer product is the given matrix of rank one."""
    left, strength, right = np.linalg.svd(kernel.astype(np.float64))
    if strength[1] > 1e-6 * strength[0]:
        raise ValueError("the kernel is not separable")
    return left[:, 0] * strength[0], right[0]
