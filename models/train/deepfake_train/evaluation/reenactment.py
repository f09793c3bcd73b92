"""A motion model on real talking heads: each clip's first frame is animated by the clip itself.

Absolute motion (the key-points of the driving frame as they are), so that the driving frame is the truth.
Every figure stands beside that of a model that just repeats the source.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rich.progress import track

from ..animate import Animator, X2FaceAnimator, load_animator, puppet
from ..faces import FaceFinder, Picture
from ..manifest import read
from . import cross, expressions
from .clips import Clip, different_names, read_clip
from .judge import OPENINGS, Judge, Tally, Weights, overall
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
    **OPENINGS,
    "no_face": ("predictions without a face, part", 3),
}
"""Names of the figures in tables, and their digits."""


def self_reenactment(animator: Animator | X2FaceAnimator, clip: Clip) -> Iterator[Picture]:
    """Predictions of all frames but the first, which is the source."""
    first, *driving = (frame.crop for frame in clip.frames)
    return map(puppet(animator, first), driving)


def evaluate_fomm(
    model: Path,
    zoo: Path,
    clips: Sequence[Path],
    out: Path,
    *,
    every: int = 5,
    portraits: Sequence[Path] = (),
    most_portraits: int = 12,
    weights: Weights | None = None,
    sheet: Path | None = None,
    threads: int = 2,
) -> dict[str, Any]:
    """Writes ``results.json``, ``results.md`` and, if asked, a sheet of samples; returns the results.

    ``model`` may be of kind x2face as well, which is moved by the driving frame as it is. ``portraits`` are
    moved by the clips too, see `cross`. Raises ``ValueError`` for clips of the same name, if no clip is of
    use, and for portraits that are none.
    """
    weights = weights or Weights()
    different_names(clips)
    finder, manifest = FaceFinder(zoo), read(model)
    animator = load_animator(model, threads)
    judge, size = Judge(finder, weights, threads), manifest["input"]["width"]
    moved_portraits = (
        cross.read_portraits(portraits, finder, manifest["crop"], size, most_portraits) if portraits else []
    )
    of_model: dict[str, Tally] = {}
    of_copy: dict[str, Tally] = {}
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
        predictions: list[Picture] = []
        copied, moved = Tally(), Tally()
        source = judge.view(clip.frames[0].crop)
        made = zip(clip.frames[1:], self_reenactment(animator, clip), strict=True)
        for frame, prediction in track(made, f"{clip.name}: predictions", total=len(clip.frames) - 1):
            predictions.append(prediction)
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
        "overall": {
            "model": overall(list(of_model.values()), NAMES),
            "copy": overall(list(of_copy.values()), NAMES),
        },
        "by_clip": {
            name: {"model": of_model[name].means(), "copy": of_copy[name].means()} for name in of_model
        },
    }
    if moved_portraits:
        talkers = [clip for clip, _ in samples]
        results["portraits"] = len(moved_portraits)
        results["cross"] = cross.cross_reenactment(animator, judge, moved_portraits, talkers)
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
            *(cross.markdown(results) if "cross" in results else ()),
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


def _identity_says(weights: Weights) -> str:
    if weights.identity is not None:
        return f"squared distance of embeddings by {weights.identity.name}"
    if weights.vgg is not None:
        return (
            "squared distance of VGG-16 features over the aligned face, which is no identity network; "
            "compare models with it, not with published AED"
        )
    return "left out, no network was given"
