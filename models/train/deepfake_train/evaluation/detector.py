"""A classifier of the zoo, fed as the element ``deepfakedetect`` feeds it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..faces import Picture, Points
from ..manifest import network_path, read_kind
from ..measure import session

BORDERS = {"mirror": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE, "zero": cv2.BORDER_CONSTANT}
BATCH = 16


class Detector:
    """Scores 0 (real) .. 1 (fake) by the first of the element's crops; its others vary that one a little."""

    def __init__(self, folder: Path, threads: int = 2) -> None:
        manifest = read_kind(folder, "fwa", "dsp-fwa")
        self.name: str = manifest["model"]["name"]
        self.threshold: float = manifest["fwa"]["threshold"]
        self._input, self._crop, self._about = manifest["input"], manifest["crop"], manifest["fwa"]
        self._network = session(network_path(folder, manifest), threads)

    def crop(self, picture: Picture, points: Points) -> Picture:
        """The manifest's square about the points [N, 2 or more], of the size that the network takes.

        A shrunk picture is averaged over areas: sampled several times as finely, then averaged.
        """
        size = self._input["width"]
        low, high = points[:, :2].min(0), points[:, :2].max(0)
        longest = float((high - low).max())
        left, top = (low + high) / 2 + longest * (
            np.asarray(self._crop["shift"], np.float64) - self._crop["scale"] / 2
        )
        fine = max(1, math.ceil(self._crop["scale"] * longest / size))
        step = self._crop["scale"] * longest / (size * fine)
        # points are of pixels whose middles are whole numbers
        back = np.array([[step, 0, left + step / 2], [0, step, top + step / 2]], np.float64)
        patch = cv2.warpAffine(
            picture,
            back,
            (size * fine, size * fine),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=BORDERS[self._crop["border"]],
        )
        return cv2.resize(patch, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)

    def scores(self, crops: Iterable[Picture]) -> NDArray[np.float64]:
        """Of crops as `crop` gives them."""
        batches = [self._probabilities(np.stack(batch)) for batch in _batches(crops)]
        return np.concatenate(batches) if batches else np.zeros(0)

    def _probabilities(self, crops: NDArray[np.uint8]) -> NDArray[np.float64]:
        """[N, size, size, 3] -> [N]."""
        values = crops if self._input["channels"] == "bgr" else crops[..., ::-1]
        mean, std = (np.asarray(self._input[key], np.float32) for key in ("mean", "std"))
        tensor = ((values.astype(np.float32) / 255 - mean) / std).transpose(0, 3, 1, 2)
        given = {self._network.get_inputs()[0].name: np.ascontiguousarray(tensor, np.float32)}
        logits = self._network.run([self._about["output"]], given)[0].astype(np.float64)
        logits = logits.reshape(len(crops), -1)
        if logits.shape[1] == 1:
            odds = logits[:, 0]
        else:
            fake = self._about["fake_class"]
            odds = logits[:, fake] - logits[:, 1 - fake]
        return 1 / (1 + np.exp(-odds))


def _batches(crops: Iterable[Picture]) -> Iterator[list[Picture]]:
    batch: list[Picture] = []
    for crop in crops:
        batch.append(crop)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
