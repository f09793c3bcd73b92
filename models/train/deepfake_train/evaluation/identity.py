"""How much a face looks like another one's.

The published AED is the squared distance of embeddings of an identity network. Where none is given, an
*AED-like* distance is reported: of VGG-16 features, trained to tell things rather than people, over the
aligned face. It compares models with each other, not with published figures. With ``--identity-network`` a
real one takes its place: one that was trained on faces aligned by five points, as most of today's are, or
dlib's, as ``convert identity`` writes it. Which of them it was is in the results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..average_portrait import similarity
from ..faces import Picture, Points
from ..measure import session
from .expressions import EYES
from .lpips import VggFeatures

Embedding = NDArray[np.float32]
Embed = Callable[[Picture, Points], Embedding]

NOSE_TIP, NOSE_BASE, MOUTH_CORNERS = 1, 2, (61, 291)


@dataclass(frozen=True)
class Alignment:
    """Groups of FaceMesh points, and where the middle of each lies in the square picture a network wants."""

    side: int
    groups: tuple[tuple[int, ...], ...]
    places: NDArray[np.float64]


FIVE_POINTS = Alignment(
    112,
    (*(eye[:2] for eye in EYES), (NOSE_TIP,), *((corner,) for corner in MOUTH_CORNERS)),
    np.array(
        [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    ),
)
"""Eyes, tip of the nose, corners of the mouth."""
CHIP_PADDING, CHIP_SIDE = 0.25, 150
CHIP = Alignment(
    CHIP_SIDE,
    (*((corner,) for eye in EYES for corner in eye[:2]), (NOSE_BASE,)),
    (
        CHIP_PADDING
        + np.array([[0.1206, 0.2137], [0.3341, 0.2291], [0.6461, 0.2290], [0.8596, 0.2135], [0.4901, 0.6278]])
    )
    * (CHIP_SIDE / (2 * CHIP_PADDING + 1)),
)
"""dlib's: corners of the eyes and where the nose meets the lip."""
ALIGNMENTS = {alignment.side: alignment for alignment in (FIVE_POINTS, CHIP)}


def aligned_face(picture: Picture, points: Points, alignment: Alignment = FIVE_POINTS) -> Picture:
    """The face, turned and scaled so that its points lie where networks expect them."""
    middles = np.stack([points[list(group)].mean(0) for group in alignment.groups])
    matrix, offset = similarity(middles.astype(np.float32), alignment.places)
    warp = np.hstack((matrix, np.reshape(offset, (2, 1)))).astype(np.float32)
    size = (alignment.side, alignment.side)
    return cv2.warpAffine(picture, warp, size, borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)


def identity_distance(a: Embedding, b: Embedding) -> float:
    """Squared distance of embeddings of unit length, 0..4."""
    return float(np.square(a - b).sum())


def vgg_embedding(features: VggFeatures) -> Embed:
    """The stand-in: the deepest block's features over the aligned face, as one vector of unit length."""

    def embed(picture: Picture, points: Points) -> Embedding:
        return _unit(features(aligned_face(picture, points))[-1].reshape(-1))

    return embed


def network_embedding(path: Path, threads: int = 2) -> Embed:
    """A network in ONNX: [N, 3, S, S] of RGB in -1..1 in, the embedding as its first output.

    S, 112 or 150, says how faces are aligned (`ALIGNMENTS`). Raises ``ValueError`` for another one.
    """
    network = session(path, threads)
    given = network.get_inputs()[0]
    alignment = ALIGNMENTS.get(given.shape[-1])
    if alignment is None or list(given.shape[-3:]) != [3, alignment.side, alignment.side]:
        sides = " or ".join(f"{side}x{side}" for side in ALIGNMENTS)
        raise ValueError(f"{path} takes {given.shape}; an identity network takes RGB pictures of {sides}")

    def embed(picture: Picture, points: Points) -> Embedding:
        face = aligned_face(picture, points, alignment)[..., ::-1].transpose(2, 0, 1)[None]
        output = network.run(None, {given.name: (face.astype(np.float32) - 127.5) / np.float32(127.5)})[0]
        return _unit(np.asarray(output, np.float32).reshape(-1))

    return embed


def _unit(vector: NDArray[np.float32]) -> Embedding:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)
