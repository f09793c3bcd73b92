"""A portrait moved by a video, as a contact sheet to look at: the plugin's path in a few lines of Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from .faces import FaceFinder, Picture, Points, face_square, square
from .manifest import read_kind
from .measure import session
from .picture_file import read_picture
from .video import frames

Floats = NDArray[np.float32]


class Motion(NamedTuple):
    """Key-points of one picture: [1, K, 2] and [1, K, 2, 2]."""

    value: Floats
    jacobian: Floats


def hull_area(points: Floats) -> float:
    return float(cv2.contourArea(cv2.convexHull(points.reshape(-1, 2).astype(np.float32))))


def relative_motion(source: Motion, driving: Motion, reference: Motion) -> Motion:
    """The motion from ``reference`` to ``driving``, scaled to the face of ``source`` and applied to it."""
    scale = (hull_area(source.value) / hull_area(reference.value)) ** 0.5
    value = source.value + np.float32(scale) * (driving.value - reference.value)
    jacobian = driving.jacobian @ np.linalg.inv(reference.jacobian) @ source.jacobian
    return Motion(value.astype(np.float32), jacobian.astype(np.float32))


class _MotionModel:
    """A motion model of the zoo: its graphs by their roles, and the crop that it takes."""

    kind: ClassVar[str]

    def __init__(self, folder: Path, threads: int = 2) -> None:
        self._manifest = read_kind(folder, self.kind)
        self._graphs = {
            entry["role"]: session(folder / entry["path"], threads) for entry in self._manifest["file"]
        }

    @property
    def crop_rule(self) -> dict[str, Any]:
        """``scale`` and ``shift`` of the crop, in longer sides of the face's box."""
        return self._manifest["crop"]

    @property
    def size(self) -> int:
        """Pixels of a crop's side."""
        return self._manifest["input"]["width"]

    def crop(self, picture: Picture, points: Points) -> Picture:
        place = face_square(points.min(0), points.max(0), self.crop_rule)
        return square(picture, *place, self.size)[0]


class Animator(_MotionModel):
    """A FOMM model of the zoo."""

    kind = "fomm"

    def motion(self, crop: Picture) -> Motion:
        return Motion(*self._graphs["keypoints"].run(["value", "jacobian"], {"image": _tensor(crop)}))

    def encode(self, crop: Picture) -> tuple[Floats, Floats]:
        features, small = self._graphs["encoder"].run(["features", "small"], {"source": _tensor(crop)})
        return features, small

    def render(self, encoded: tuple[Floats, Floats], source: Motion, driving: Motion) -> Picture:
        inputs = {
            "features": encoded[0],
            "small": encoded[1],
            "source_value": source.value,
            "source_jacobian": source.jacobian,
            "driving_value": driving.value,
            "driving_jacobian": driving.jacobian,
        }
        (prediction,) = self._graphs["generator"].run(["prediction"], inputs)
        return _picture(prediction)


class X2FaceAnimator(_MotionModel):
    """An X2Face model of the zoo."""

    kind = "x2face"

    def embed(self, crop: Picture) -> Floats:
        """The embedded face of one source picture."""
        return self._graphs["embedder"].run(["embedded"], {"source": _tensor(crop)})[0]

    def render(self, embedded: Floats, crop: Picture) -> Picture:
        """The embedded face, as the driver in ``crop`` looks."""
        inputs = {"embedded": embedded, "driving": _tensor(crop)}
        return _picture(self._graphs["driver"].run(["prediction"], inputs)[0])


def load_animator(folder: Path, threads: int = 2) -> Animator | X2FaceAnimator:
    """A model of the zoo, of whichever kind."""
    kinds = {kind.kind: kind for kind in (Animator, X2FaceAnimator)}
    return kinds[read_kind(folder, *kinds)["model"]["kind"]](folder, threads)


def puppet(
    animator: Animator | X2FaceAnimator, portrait: Picture, reference: Picture | None = None
) -> Callable[[Picture], Picture]:
    """What paints the crop of a portrait as the crop of a driver looks.

    A First Order Motion Model puts the motion since the driver's picture ``reference`` on the portrait;
    without one, its motion is absolute. X2Face always takes the driver as it is.
    """
    if isinstance(animator, X2FaceAnimator):
        face = animator.embed(portrait)
        return lambda driver: animator.render(face, driver)
    source, encoded = animator.motion(portrait), animator.encode(portrait)
    if reference is None:
        return lambda driver: animator.render(encoded, source, animator.motion(driver))
    neutral = animator.motion(reference)
    return lambda driver: animator.render(
        encoded, source, relative_motion(source, animator.motion(driver), neutral)
    )


def _picture(prediction: Floats) -> Picture:
    """[1, 3, H, W], RGB in 0..1, to BGR bytes."""
    picture = prediction[0].transpose(1, 2, 0)[..., ::-1] * 255 + 0.5
    return np.ascontiguousarray(np.clip(picture, 0, 255).astype(np.uint8))


def animate_sheet(
    zoo: Path, models: Sequence[str], portrait: Path, video: Path, out: Path, *, every: int = 24
) -> None:
    """Driving crops above the animated portrait, a row a model, a column for every n-th frame of the video.

    Crops are those of the first model.
    """
    animators = [load_animator(zoo / model) for model in models]
    finder, rule = FaceFinder(zoo), animators[0]
    picture = read_picture(portrait)
    points = finder.points(picture)
    if points is None:
        raise ValueError(f"{portrait}: no face in it")
    crop = rule.crop(picture, points)
    puppets: list[Callable[[Picture], Picture]] = []
    window, columns = None, [np.vstack([crop] * (1 + len(models)))]
    for _, frame in frames(video, every):
        points = finder.points(frame)
        if points is None:
            continue
        window = points if window is None else window  # the window stays, so that the head moves in it
        driver = rule.crop(frame, window)
        puppets = puppets or [puppet(animator, crop, reference=driver) for animator in animators]
        columns.append(np.vstack([driver, *(move(driver) for move in puppets)]))
    if not cv2.imwrite(str(out), np.hstack(columns)):
        raise OSError(f"cannot write {out}")


def _tensor(crop: Picture) -> Floats:
    return np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)[None], np.float32) / np.float32(255)
