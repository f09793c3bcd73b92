"""From files and options to a training that is ready to run."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from ...fomm import PRESETS, Fomm
from ...manifest import FILE_NAME
from ...unfolding import norms_do_nothing
from ..clips import all_clips, clip_names
from ..landmarks import POINTS
from ..loop import step_seed
from ..placement import placed
from .clips import ClipPairs, claim_views, write_views
from .expression_reader import ExpressionReader
from .expressions import Expressions
from .pairs import Pairs, PairSource
from .perceptual import Vgg16
from .stills import read_stills
from .synthesis import PairSynthesis
from .trainer import FommOptions, FommTraining, Renewed
from .weights import read_fomm, renewed

SHOWN = 8
"""Pairs on a sample sheet."""
VIEW_PAIRS = 2
"""Pairs of views kept of a portrait; any two of the views make a pair."""


@dataclass(frozen=True)
class FommRun:
    """What to train on what, where; see the options of ``train fomm``."""

    options: FommOptions
    preset: str
    size: int = 256
    device: str = "cpu"
    start: Path | None = None
    renew: tuple[int, ...] = ()
    stills: Path | None = None
    expressions: Path | None = None
    views: Path | None = None
    clips: tuple[Path, ...] = ()
    clip_share: float = 0.4
    vgg: Path | None = None
    facemesh: Path | None = None


def prepare(run: FommRun) -> tuple[FommTraining, dict[str, Any]]:
    """The training and its settings, as `loop.run` wants them."""
    device, losses = torch.device(run.device), run.options.losses
    _check_losses(run)
    # before the data: views take long to make, and are not to be made in vain
    perceptual, model = _perceptual(run, device), _model(run)
    reader = _reader(run, device)
    began = None
    if run.renew:
        began = Renewed(run.renew, model.keypoint_detector)
        model = renewed(model, run.renew)
    sources, held_out = _data(run, device)
    training = FommTraining(model, sources, held_out, run.options, perceptual, began, reader)
    settings: dict[str, Any] = {
        "model": dataclasses.asdict(model.config),
        "options": dataclasses.asdict(run.options),
        "size": run.size,
        "start": _digest(run.start),
        "renew": sorted(set(run.renew)),
        "vgg": None if perceptual is None else _digest(run.vgg),
        "facemesh": None if reader is None else _digest(run.facemesh),
        "stills": _digest(run.stills),
        "expressions": _digest(run.expressions),
        "views": None if run.views is None else VIEW_PAIRS,
        "clips": clip_names(run.clips),
        "clip share": run.clip_share,
    }
    # keys of JSON are text
    settings["options"]["losses"]["anchors"] = {str(k): v for k, v in losses.anchors.items()}
    return training, settings


def _check_losses(run: FommRun) -> None:
    """Ends the command if the losses cannot be computed, or are there for nothing."""
    losses, weights = run.options.losses, run.options.losses.weights
    if _on_features(run) and run.vgg is None:
        raise SystemExit("losses on features need --vgg; without: --weight perceptual=0 --weight parts=0")
    if weights.seen() and run.facemesh is None:
        raise SystemExit("--weight landmarks and openings need --facemesh ../zoo/facemesh")
    if (weights.keypoints or weights.heat) and not losses.anchors:
        raise SystemExit("--weight keypoints and heat need --anchor")
    if weights.features and not weights.adversarial:
        raise SystemExit("--weight features is about the discriminator, and needs --weight adversarial")
    _check_anchors(losses.anchors, PRESETS[run.preset].keypoints)
    if losses.anchors and not (weights.keypoints or weights.heat):
        raise SystemExit("--anchor does nothing without --weight heat or keypoints")
    _check_renewed(run, PRESETS[run.preset].keypoints)
    _check_frozen(run.options)


ABOUT_KEYPOINTS = ("equivariance", "frames", "keypoints", "heat", "keep")
ABOUT_MOTION = ("flow", "gaps", "turns", "warp")
"""Losses by what they can change."""


def _check_frozen(options: FommOptions) -> None:
    if options.frozen_motion and options.frozen_painter:
        raise SystemExit("--frozen-motion and --frozen-painter leave nothing to train")
    for frozen, option, about, names in (
        (options.frozen_detector, "--frozen-detector", "key-points", ABOUT_KEYPOINTS),
        (options.frozen_motion, "--frozen-motion", "motion", ABOUT_KEYPOINTS + ABOUT_MOTION),
    ):
        in_vain = [name for name in names if getattr(options.losses.weights, name)]
        if frozen and in_vain:
            zeros = " ".join(f"--weight {name}=0" for name in in_vain)
            raise SystemExit(f"{option} leaves nothing for losses on {about} to change: {zeros}")


def _check_anchors(anchors: Mapping[int, int], keypoints: int) -> None:
    for keypoint, point in anchors.items():
        if not 0 <= keypoint < keypoints:
            raise SystemExit(f"--anchor {keypoint}={point}: key-points are 0 to {keypoints - 1}")
        if not 0 <= point < POINTS:
            raise SystemExit(f"--anchor {keypoint}={point}: FaceMesh points are 0 to {POINTS - 1}")


def _check_renewed(run: FommRun, keypoints: int) -> None:
    missing = [number for number in run.renew if not 0 <= number < keypoints]
    if missing:
        raise SystemExit(f"--renew {missing[0]}: key-points are 0 to {keypoints - 1}")
    if run.renew and run.start is None:
        raise SystemExit("--renew is about the key-points of --start")
    for frozen, option in (
        (run.options.frozen_detector, "--frozen-detector"),
        (run.options.frozen_motion, "--frozen-motion"),
    ):
        if run.renew and frozen:
            raise SystemExit(f"{option} would leave the key-points of --renew where nothing is found")
    if not run.options.losses.weights.keep:
        return
    if not run.renew:
        raise SystemExit("--weight keep is about the key-points beside those of --renew")
    if len(set(run.renew)) == keypoints:
        raise SystemExit("--weight keep: no key-point is left beside those of --renew")
    if not run.options.frozen_norms:
        raise SystemExit("--weight keep needs --frozen-norms: statistics of each batch move all key-points")


def _on_features(run: FommRun) -> bool:
    """Whether any loss compares features of VGG-16."""
    weights = run.options.losses.weights
    return bool(weights.perceptual or weights.parts)


def _perceptual(run: FommRun, device: torch.device) -> Vgg16 | None:
    if not _on_features(run) or run.vgg is None:
        return None
    losses = run.options.losses
    return placed(Vgg16(run.vgg, max(losses.depth, losses.part_depth)), device)


def _reader(run: FommRun, device: torch.device) -> ExpressionReader | None:
    if run.facemesh is None or not run.options.losses.weights.seen():
        return None
    return ExpressionReader(run.facemesh).to(device)


def _data(run: FommRun, device: torch.device) -> tuple[list[tuple[PairSource, float]], Pairs]:
    """Where pairs come from, and pairs to show."""
    sources: list[tuple[PairSource, float]] = []
    shown: PairSource | None = None
    # before the portraits: a folder that is missing is told before views are made
    clips = ClipPairs(all_clips(run.clips), run.size, device) if run.clips else None
    if run.stills is not None:
        portraits, shown = _portraits(run, run.stills, device)
        sources.append((portraits, 1 - run.clip_share if clips else 1.0))
    if clips is not None:
        sources.append((clips, run.clip_share if sources else 1.0))
        shown = shown or clips  # nothing is held out of clips: that is what evaluation is for
    if shown is None:
        raise SystemExit("nothing to learn from: give --stills, --clips or both")
    generator = torch.Generator(device).manual_seed(step_seed(run.options.seed, 0, "sheet"))
    return sources, shown.batch(SHOWN, generator)


def _portraits(run: FommRun, pack: Path, device: torch.device) -> tuple[PairSource, PairSource]:
    """Pairs of portraits to learn from, and of those that are held out."""
    expressions = Expressions(run.expressions, device)
    train, held_out = (read_stills(pack, part) for part in ("train", "validation"))
    if not len(held_out):
        raise SystemExit(
            f"{pack}: {len(train)} portraits, without those that are kept for a test, are too few to hold "
            "any out for the sample sheets; 20 are enough"
        )
    synthesis, shown = (
        PairSynthesis(stills.to(device), expressions, run.size) for stills in (train, held_out)
    )
    return synthesis if run.views is None else _kept_views(run, synthesis, run.views), shown


def _kept_views(run: FommRun, synthesis: PairSynthesis, root: Path) -> ClipPairs:
    about = {
        "stills": _digest(run.stills),
        "expressions": _digest(run.expressions),
        "size": run.size,
        "seed": run.options.seed,
        "pairs": VIEW_PAIRS,
    }
    claim_views(root, about)
    folders = write_views(synthesis, root, VIEW_PAIRS, run.options.seed)
    made = list(track(folders, description="views of portraits", total=len(synthesis.stills)))
    return ClipPairs(made, run.size, synthesis.device)


def _model(run: FommRun) -> Fomm:
    config = PRESETS[run.preset]
    if run.start is not None:
        model = read_fomm(run.start, align_corners=config.align_corners)
        if model.config != config:
            raise SystemExit(f"{run.start} is not of the widths '{run.preset}' but {model.config}")
        if norms_do_nothing(model) and not run.options.frozen_norms:
            raise SystemExit(
                f"{run.start}: the batch norms were folded into the convolutions and have no statistics any "
                "more, so they have to stay as they are: --frozen-norms"
            )
        return model
    torch.manual_seed(step_seed(run.options.seed, 0, "weights"))
    return Fomm(config)


def _digest(path: Path | None) -> str | None:
    """What tells a file, or a model of the zoo, from another one of the same name."""
    if path is None:
        return None
    if path.is_dir():
        path /= FILE_NAME  # has the digests of the others
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
