"""All figures of a prediction beside the picture that it ought to be, or the portrait that it shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..faces import FaceFinder, Picture, Points
from . import expressions, pictures
from .identity import Embed, Embedding, identity_distance, network_embedding, vgg_embedding
from .lpips import Floats, Lpips, VggFeatures, read_linear_weights

FOLLOWED: dict[str, Callable[[Points], float]] = {
    "mouth": expressions.mouth_opening,
    "eyes": expressions.eye_opening,
    "turn": expressions.head_turn,
}
"""What predictions follow their drivers in."""
OPENINGS = {
    "mouth_gain": ("opening of the mouth: gain", 3),
    "mouth_correlation": ("opening of the mouth: correlation", 3),
    "eyes_gain": ("opening of the eyes: gain", 3),
    "eyes_correlation": ("opening of the eyes: correlation", 3),
}
"""Names of these figures in tables, and their digits."""


@dataclass
class Weights:
    """Networks of others that figures are made with; a figure without its network is left out."""

    vgg: Path | None = None
    linear: Path | None = None
    identity: Path | None = None


@dataclass
class Tally:
    """What was seen of a clip's predictions."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    followed: dict[str, tuple[list[float], list[float]]] = field(
        default_factory=lambda: {what: ([], []) for what in FOLLOWED}
    )

    def follow(self, predicted: Points, driving: Points) -> None:
        """Notes how far mouth and eyes are open and the head is turned, beside the driver's."""
        for what, measure in FOLLOWED.items():
            of_prediction, of_driver = self.followed[what]
            of_prediction.append(measure(predicted))
            of_driver.append(measure(driving))

    def add(self, name: str, value: float) -> None:
        self.figures.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        return {name: float(np.mean(values)) for name, values in self.figures.items()}


def overall(tallies: Sequence[Tally], names: Collection[str]) -> dict[str, float]:
    """The figures of these names, each tally counting the same; what none of them has is left out."""
    means = [tally.means() for tally in tallies]
    result = {
        name: float(np.mean([mean[name] for mean in means if name in mean]))
        for name in names
        if any(name in mean for mean in means)
    }
    for what in FOLLOWED:
        if f"{what}_gain" in names:
            followed = expressions.following([tally.followed[what] for tally in tallies])
            result[f"{what}_gain"], result[f"{what}_correlation"] = followed
    return result


class View(NamedTuple):
    """A picture with what is read off it once."""

    picture: Picture
    points: Points | None
    features: list[Floats] | None
    embedding: Embedding | None


class Judge:
    """All figures of a prediction."""

    def __init__(self, finder: FaceFinder, weights: Weights, threads: int) -> None:
        self._finder = finder
        vgg = None if weights.vgg is None else VggFeatures(weights.vgg, threads)
        self._features = vgg if weights.linear else None
        self._lpips = None if weights.linear is None else Lpips(read_linear_weights(weights.linear))
        self._embed: Embed | None = None if vgg is None else vgg_embedding(vgg)
        if weights.identity is not None:
            self._embed = network_embedding(weights.identity, threads)

    def view(self, picture: Picture) -> View:
        features = None if self._features is None else self._features(picture)
        return self.glance(picture)._replace(features=features)

    def glance(self, picture: Picture) -> View:
        """A view without what only a comparison with the truth needs."""
        points = self._finder.points(picture)
        embedding = None if self._embed is None or points is None else self._embed(picture, points)
        return View(picture, points, None, embedding)

    def compare(self, prediction: View, truth: View, into: Tally) -> None:
        a, b, size = prediction.picture, truth.picture, truth.picture.shape[0]
        for name, measure in (("l1", pictures.l1), ("psnr", pictures.psnr), ("ssim", pictures.ssim)):
            into.add(name, measure(a, b))
        if self._lpips and prediction.features and truth.features:
            into.add("lpips", self._lpips(prediction.features, truth.features))
        into.add("no_face", float(prediction.points is None))
        if truth.points is None:
            return
        mouth, face = (
            expressions.mouth_region(truth.points, size),
            expressions.face_region(truth.points, size),
        )
        into.add("mouth_l1", pictures.l1(mouth.of(a), mouth.of(b)))
        eyes = expressions.eye_regions(truth.points, size)
        into.add("eyes_l1", float(np.mean([pictures.l1(eye.of(a), eye.of(b)) for eye in eyes])))
        into.add("sharpness", pictures.sharpness(face.of(a), face.of(b)))
        if prediction.points is None:
            return
        into.add("akd", expressions.keypoint_distance(prediction.points, truth.points))
        into.follow(prediction.points, truth.points)
        if prediction.embedding is not None and truth.embedding is not None:
            into.add("identity", identity_distance(prediction.embedding, truth.embedding))
