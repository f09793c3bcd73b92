"""A motion model on real talking heads: each clip's first frame is animated by the clip itself.

Absolute motion (the key-points of the driving frame as they are), so that the driving frame is the truth.
Every figure stands beside that of a model that just repeats the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from ..animate import Animator, X2FaceAnimator
from ..faces import FaceFinder, Picture, Points
from ..manifest import read
from . import expressions, pictures
from .clips import Clip, different_names, read_clip
from .identity import Embed, Embedding, identity_distance, network_embedding, vgg_embedding
from .lpips import Floats, Lpips, VggFeatures, read_linear_weights
from .tables import number, table, write_results

NAMES = {
    "l1": ("L1", 4),
    "psnr": ("PSNR, dB", 2),
    "ssim": ("SSIM", 3),
    "lpips": ("LPIPS (VGG)", 3),
    "akd": ("AKD, px of 256", 2),
    "identity": ("identity distance", 3),
    "mouth_l1": ("L1 of the mouth", 4),
    "eyes_l1": ("L1 of the eyes", 4),
    "sharpness": ("sharpness of the face, part of the real one's", 3),
    "mouth_gain": ("opening of the mouth: gain", 3),
    "mouth_correlation": ("opening of the mouth: correlation", 3),
    "eyes_gain": ("opening of the eyes: gain", 3),
    "eyes_correlation": ("opening of the eyes: correlation", 3),
    "no_face": ("predictions without a face, part", 3),
}
"""Names of the figures in tables, and their digits."""


@dataclass
class Weights:
    """Networks of others that figures are made with; a figure without its network is left out."""

    vgg: Path | None = None
    linear: Path | None = None
    identity: Path | None = None


@dataclass
class _Tally:
    """What was seen of a clip's predictions."""

    figures: dict[str, list[float]] = field(default_factory=dict)
    mouth: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    eyes: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))

    def add(self, name: str, value: float) -> None:
        self.figures.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        return {name: float(np.mean(values)) for name, values in self.figures.items()}


class _View(NamedTuple):
    """A picture with what is read off it once."""

    picture: Picture
    points: Points | None
    features: list[Floats] | None
    embedding: Embedding | None


class _Judge:
    """All figures of a prediction."""

    def __init__(self, finder: FaceFinder, weights: Weights, threads: int) -> None:
        self._finder = finder
        vgg = None if weights.vgg is None else VggFeatures(weights.vgg, threads)
        self._features = vgg if weights.linear else None
        self._lpips = None if weights.linear is None else Lpips(read_linear_weights(weights.linear))
        self._embed: Embed | None = None if vgg is None else vgg_embedding(vgg)
        if weights.identity is not None:
            self._embed = network_embedding(weights.identity, threads)

    def view(self, picture: Picture) -> _View:
        points = self._finder.points(picture)
        features = None if self._features is None else self._features(picture)
        embedding = None if self._embed is None or points is None else self._embed(picture, points)
        return _View(picture, points, features, embedding)

    def compare(self, prediction: _View, truth: _View, into: _Tally) -> None:
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
        for (predicted, driving), opening in (
            (into.mouth, expressions.mouth_opening),
            (into.eyes, expressions.eye_opening),
        ):
            predicted.append(opening(prediction.points))
            driving.append(opening(truth.points))
        if prediction.embedding is not None and truth.embedding is not None:
            into.add("identity", identity_distance(prediction.embedding, truth.embedding))


def self_reenactment(animator: Animator | X2FaceAnimator, clip: Clip) -> list[Picture]:
    """Predictions of all frames but the first, which is the source."""
    first = clip.frames[0].crop
    if isinstance(animator, X2FaceAnimator):
        face = animator.embed(first)
        return [animator.render(face, frame.crop) for frame in clip.frames[1:]]
    source, encoded = animator.motion(first), animator.encode(first)
    return [animator.render(encoded, source, animator.motion(frame.crop)) for frame in clip.frames[1:]]


def evaluate_fomm(
    model: Path,
    zoo: Path,
    clips: Sequence[Path],
    out: Path,
    *,
    every: int = 5,
    weights: Weights | None = None,
    sheet: Path | None = None,
    threads: int = 2,
) -> dict[str, Any]:
    """Writes ``results.json``, ``results.md`` and, if asked, a sheet of samples; returns the results.

    ``model`` may be of kind x2face as well, which is moved by the driving frame as it is. Raises
    ``ValueError`` for clips of the same name, and if no clip is of use.
    """
    weights = weights or Weights()
    different_names(clips)
    finder, manifest = FaceFinder(zoo), read(model)
    kind = X2FaceAnimator if manifest["model"]["kind"] == "x2face" else Animator
    animator = kind(model, threads)
    judge, size = _Judge(finder, weights, threads), manifest["input"]["width"]
    of_model: dict[str, _Tally] = {}
    of_copy: dict[str, _Tally] = {}
    seen, samples = {}, []
    for path in clips:
        clip = read_clip(path, finder, manifest["crop"], size=size, every=every)
        seen[clip.name] = {
            "frames": max(len(clip.frames) - 1, 0),
            "without_face": clip.without_face,
            "outside": clip.outside,
        }
        print(f"{clip.name}: {seen[clip.name]}", flush=True)
        if len(clip.frames) < 2:
            continue
        predictions = self_reenactment(animator, clip)
        copied, moved = _Tally(), _Tally()
        source = judge.view(clip.frames[0].crop)
        for frame, prediction in zip(clip.frames[1:], predictions, strict=True):
            truth = judge.view(frame.crop)
            judge.compare(judge.view(prediction), truth, moved)
            judge.compare(source, truth, copied)
        of_model[clip.name], of_copy[clip.name] = moved, copied
        samples.append((clip, predictions))
    if not of_model:
        raise ValueError("none of the clips has two frames with a face: nothing to evaluate")
    results = {
        "model": manifest["model"]["name"],
        "crop": "one square a clip",
        "motion": "absolute, first frame as source",
        "every": every,
        "identity_distance": _identity_says(weights),
        "clips": seen,
        "overall": {"model": _overall(of_model), "copy": _overall(of_copy)},
        "by_clip": {
            name: {"model": of_model[name].means(), "copy": of_copy[name].means()} for name in of_model
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    write_results(results, out / "results.json")
    (out / "results.md").write_text(markdown(results), encoding="utf-8")
    if sheet is not None:
        write_sheet(samples, sheet)
    return results


def markdown(results: dict[str, Any]) -> str:
    """The tables for a model card."""
    model, copy = results["overall"]["model"], results["overall"]["copy"]
    name = results["model"]
    rows = [
        [title, number(model[key], digits), number(copy.get(key), digits)]
        for key, (title, digits) in NAMES.items()
        if key in model
    ]
    short = [key for key in ("l1", "psnr", "ssim", "lpips", "akd") if key in model]
    by_clip = [
        [
            clip,
            str(results["clips"][clip]["frames"]),
            *(number(of[who].get(key), NAMES[key][1]) for key in short for who in ("model", "copy")),
        ]
        for clip, of in results["by_clip"].items()
    ]
    titles = [f"{NAMES[key][0]}{suffix}" for key in short for suffix in ("", ", copied")]
    frames = sum(clip["frames"] for clip in results["clips"].values())
    return "\n".join(
        (
            f"Self-reenactment, {results['motion']}, {results['crop']}, every {results['every']}. frame: "
            f"{frames} frames of {len(results['by_clip'])} clips; every clip counts the same.",
            f"Identity distance: {results['identity_distance']}.",
            "",
            table(["", name, "copying the source"], rows),
            table(["clip", "frames", *titles], by_clip),
        )
    )


def write_sheet(samples: list[tuple[Clip, list[Picture]]], path: Path, columns: int = 8) -> None:
    """Rows: source, driver, prediction; of each clip where the points are farthest from the source's."""
    stacks: list[Picture] = []
    if not samples:
        return
    per_clip = -(-columns // len(samples))
    for clip, predictions in samples:
        first = clip.frames[0]
        far = [expressions.keypoint_distance(first.points, frame.points) for frame in clip.frames[1:]]
        for part in np.array_split(np.arange(len(far)), min(per_clip, len(far))):
            best = max(part, key=lambda index: far[index])
            stacks.append(np.vstack((first.crop, clip.frames[1 + best].crop, predictions[best])))
    if not cv2.imwrite(str(path), np.hstack(stacks[:columns])):
        raise OSError(f"cannot write {path}")


def _overall(tallies: dict[str, _Tally]) -> dict[str, float]:
    means = [tally.means() for tally in tallies.values()]
    result = {
        key: float(np.mean([mean[key] for mean in means if key in mean]))
        for key in NAMES
        if any(key in mean for mean in means)
    }
    for what in ("mouth", "eyes"):
        followed = expressions.following([getattr(tally, what) for tally in tallies.values()])
        result[f"{what}_gain"], result[f"{what}_correlation"] = followed
    return result


def _identity_says(weights: Weights) -> str:
    if weights.identity is not None:
        return f"squared distance of embeddings by {weights.identity.name}"
    if weights.vgg is not None:
        return (
            "squared distance of VGG-16 features over the aligned face, which is no identity network; "
            "compare models with it, not with published AED"
        )
    return "left out, no network was given"
