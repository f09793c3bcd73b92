"""From files and options to a training that is ready to run."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import track

from ...checkpoint import load_fomm
from ...fomm import PRESETS, Fomm
from ..clips import clip_folders
from ..loop import step_seed
from .clips import ClipPairs, write_views
from .expressions import Expressions
from .pairs import Pairs, PairSource
from .perceptual import Vgg16
from .stills import read_stills
from .synthesis import PairSynthesis
from .trainer import FommOptions, FommTraining

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
    stills: Path | None = None
    expressions: Path | None = None
    views: Path | None = None
    clips: tuple[Path, ...] = ()
    clip_share: float = 0.4
    vgg: Path | None = None


def prepare(run: FommRun) -> tuple[FommTraining, dict[str, Any]]:
    """The training and its settings, as `loop.run` wants them."""
    device, losses = torch.device(run.device), run.options.losses
    sources, held_out = _data(run, device)
    features = losses.weights.perceptual or losses.weights.parts
    if features and run.vgg is None:
        raise SystemExit("losses on features need --vgg; without: --weight perceptual=0 --weight parts=0")
    if (losses.weights.keypoints or losses.weights.heat) and not losses.anchors:
        raise SystemExit("--weight keypoints and heat need --anchor")
    about_keypoints = ("equivariance", "frames", "keypoints", "heat")
    in_vain = [name for name in about_keypoints if getattr(losses.weights, name)]
    if run.options.frozen_detector and in_vain:
        zeros = " ".join(f"--weight {name}=0" for name in in_vain)
        raise SystemExit(f"--frozen-detector leaves nothing for losses on key-points to change: {zeros}")
    perceptual = None
    if features and run.vgg is not None:
        perceptual = Vgg16(run.vgg, max(losses.depth, losses.part_depth))
        perceptual.to(device=device, memory_format=torch.channels_last)
    model = _model(run)
    training = FommTraining(model, sources, held_out, run.options, perceptual)
    settings = {
        "model": dataclasses.asdict(model.config),
        "options": dataclasses.asdict(run.options),
        "size": run.size,
        "start": _digest(run.start),
        "stills": _digest(run.stills),
        "expressions": _digest(run.expressions),
        "views": None if run.views is None else VIEW_PAIRS,
        "clips": [folder.name for root in run.clips for folder in clip_folders(root)],
        "clip share": run.clip_share,
    }
    # keys of JSON are text
    settings["options"]["losses"]["anchors"] = {str(k): v for k, v in losses.anchors.items()}
    return training, settings


def _data(run: FommRun, device: torch.device) -> tuple[list[tuple[PairSource, float]], Pairs]:
    """Where pairs come from, and pairs to show."""
    sources: list[tuple[PairSource, float]] = []
    shown: PairSource | None = None
    if run.stills is not None:
        if run.expressions is None:
            raise SystemExit("--stills needs --expressions")
        expressions = Expressions(run.expressions, device)
        train, held_out = (
            PairSynthesis(read_stills(run.stills, part).to(device), expressions, run.size)
            for part in ("train", "validation")
        )
        shown = held_out
        still_pairs: PairSource = train
        if run.views is not None:
            total = len(train.stills)
            folders = write_views(train, run.views, VIEW_PAIRS, run.options.seed)
            made = list(track(folders, description="views of portraits", total=total))
            still_pairs = ClipPairs(made, run.size, device)
        sources.append((still_pairs, 1 - run.clip_share if run.clips else 1.0))
    if run.clips:
        folders_of_clips = [folder for root in run.clips for folder in clip_folders(root)]
        clips = ClipPairs(folders_of_clips, run.size, device)
        sources.append((clips, run.clip_share if sources else 1.0))
        shown = shown or clips  # nothing is held out of clips: that is what evaluation is for
    if shown is None:
        raise SystemExit("nothing to learn from: give --stills, --clips or both")
    generator = torch.Generator(device).manual_seed(step_seed(run.options.seed, 0, "sheet"))
    return sources, shown.batch(SHOWN, generator)


def _model(run: FommRun) -> Fomm:
    config = PRESETS[run.preset]
    if run.start is not None:
        model = load_fomm(run.start, align_corners=config.align_corners)
        if model.config != config:
            raise SystemExit(f"{run.start} is not of the widths '{run.preset}' but {model.config}")
        return model
    torch.manual_seed(step_seed(run.options.seed, 0, "weights"))
    return Fomm(config)


def _digest(path: Path | None) -> str | None:
    """What tells a file from another one of the same name."""
    if path is None:
        return None
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
