"""How much a face looks like another one's.

The published AED is the squared distance of embeddings of an identity network. Where none is given, an
*AED-like* distance is reported: of VGG-16 features, trained to tell things rather than people, over the
aligned face. It compares models with each other, not with published figures. With ``--identity-network`` a
real one takes its place. Which of the two it was is in the results.
"""

from __future__ import annotations

from collections.abc import Callable
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

SIZE = 112
NOSE_TIP, MOUTH_CORNERS = 1, (61, 291)
# where eyes, nose tip and corners of the mouth lie in the pictures that identity networks are trained on
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    np.float32,
)


def aligned_face(picture: Picture, points: Points) -> Picture:
    """The face, turned and scaled so that eyes, nose and mouth lie where the networks expect them."""
    eyes = [points[list(eye[:2])].mean(0) for eye in EYES]
    five = np.stack([*eyes, points[NOSE_TIP], *points[list(MOUTH_CORNERS)]]).astype(np.float32)
    matrix, offset = similarity(five, TEMPLATE)
    warp = np.hstack((matrix, np.reshape(offset, (2, 1)))).astype(np.float32)
    return cv2.warpAffine(picture, warp, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT_101).astype(np.uint8)


def identity_distance(a: Embedding, b: Embedding) -> float:
    """Squared distance of embeddings of unit length, 0..4."""
    return float(np.square(a - b).sum())


def vgg_embedding(features: VggFeatures) -> Embed:
    """The stand-in: the deepest block's features over the aligned face, as one vector of unit length."""

    def embed(picture: Picture, points: Points) -> Embedding:
        return _unit(features(aligned_face(picture, points))[-1].reshape(-1))

    return embed


def network_embedding(path: Path, threads: int = 2) -> Embed:
    """A network in ONNX: [N, 3, 112, 112] of RGB in -1..1 in, the embedding as its first output."""
    network = session(path, threads)
    name = network.get_inputs()[0].name

    def embed(picture: Picture, points: Points) -> Embedding:
        face = aligned_face(picture, points)[..., ::-1].transpose(2, 0, 1)[None]
        output = network.run(None, {name: (face.astype(np.float32) - 127.5) / np.float32(127.5)})[0]
        return _unit(np.asarray(output, np.float32).reshape(-1))

    return embed


def _unit(vector: NDArray[np.float32]) -> Embedding:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9), np.float32)
