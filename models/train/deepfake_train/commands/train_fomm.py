"""``train fomm``: a First Order Motion Model."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from . import Commands
from .numbers import positive

LOSSES = (
    *("perceptual", "parts", "picture", "part_picture", "detail", "structure"),
    *("landmarks", "openings"),
    *("flow", "gaps", "turns", "warp"),
    *("equivariance", "frames", "keypoints", "heat", "keep", "adversarial", "features"),
)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def _weight(text: str) -> tuple[str, float]:
    name, value = _pair(text)
    if name not in LOSSES:
        raise argparse.ArgumentTypeError(f"no loss '{name}', only {', '.join(LOSSES)}")
    return name, float(value)


def _anchor(text: str) -> tuple[int, int]:
    keypoint, point = _pair(text)
    return int(keypoint), int(point)


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from ..training.fomm.losses import LossOptions, LossWeights
    from ..training.fomm.setup import FommRun, prepare
    from ..training.fomm.trainer import FommOptions
    from ..training.fomm.weights import save_fomm
    from ..training.loop import Schedule, note_weights, run

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    losses = LossOptions(
        weights=LossWeights(**dict(arguments.weight)),
        scales=tuple(arguments.scales),
        depth=arguments.depth,
        part_depth=arguments.part_depth,
        part_emphasis=arguments.part_emphasis,
        anchors=dict(arguments.anchor),
    )
    half = arguments.device == "cuda" if arguments.half is None else arguments.half
    options = FommOptions(
        batch=arguments.batch,
        seed=arguments.seed,
        losses=losses,
        average=arguments.average,
        half=half,
        frozen_painter=arguments.frozen_painter,
        frozen_detector=arguments.frozen_detector,
        frozen_motion=arguments.frozen_motion,
        frozen_norms=arguments.frozen_norms,
    )
    training, settings = prepare(
        FommRun(
            options=options,
            preset=arguments.preset,
            size=arguments.size,
            device=arguments.device,
            start=arguments.start,
            renew=tuple(arguments.renew),
            stills=arguments.stills,
            expressions=arguments.expressions,
            views=arguments.views,
            clips=tuple(arguments.clips),
            clip_share=arguments.clip_share,
            vgg=arguments.vgg,
            facemesh=arguments.facemesh,
        )
    )
    # as it was given: what it is by default hangs on the device, which may differ when a run is gone on with
    settings["options"]["half"] = arguments.half
    schedule = Schedule(
        steps=arguments.steps,
        rate=arguments.rate,
        last_rate=arguments.last_rate,
        warm_up=arguments.warm_up,
        minutes=arguments.minutes,
        save_every=arguments.save_every,
        sample_every=arguments.sample_every,
    )
    settings |= {name: getattr(schedule, name) for name in ("steps", "rate", "last_rate", "warm_up")}
    done = run(training, arguments.out, schedule, settings)
    weights = arguments.out / "fomm-fp16.pt"
    save_fomm(training.averaged(), weights)
    note_weights(arguments.out, done)
    background, *keypoints = training.mask_shares()
    moves = ", ".join(f"{number}: {100 * share:.1f}" for number, share in enumerate(keypoints))
    print(f"pictures of the sheet: {100 * background:.1f} % background; % that move with key-point {moves}")
    print(f"{done} of {schedule.steps} steps; averaged weights in {weights}")


def add(kinds: Commands) -> None:
    """Adds ``fomm``."""
    fomm = kinds.add_parser(
        "fomm",
        help="a First Order Motion Model",
        description="Trains, or goes on training, in a run folder. With a folder that was begun, give the "
        "same options; --minutes, --device and --threads may differ.",
    )
    fomm.add_argument("--out", type=Path, required=True, help="run folder")
    fomm.add_argument("--preset", choices=("lite", "mid", "vox", "tiny"), default="lite", help="widths")
    fomm.add_argument(
        "--start",
        type=Path,
        help="to fine-tune: a checkpoint, or with --frozen-norms a folder of the zoo; left out: random",
    )
    fomm.add_argument(
        "--renew",
        type=int,
        nargs="+",
        action="extend",
        default=[],
        metavar="KEYPOINT",
        help="key-points of --start to begin anew: those that nothing moves with; --anchor with --weight "
        "heat=X and keypoints=X puts them to use",
    )
    fomm.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    fomm.add_argument("--threads", type=int, help="of the CPU; left out: PyTorch's choice")
    fomm.add_argument("--size", type=positive, default=256, help="side of the pictures in pixels")
    fomm.add_argument("--seed", type=int, default=0)

    data = fomm.add_argument_group("data")
    data.add_argument("--stills", type=Path, help="pack of portraits with FaceMesh points (faces.npz)")
    data.add_argument(
        "--expressions",
        type=Path,
        metavar="NPZ",
        help="how the points move with each expression, for --stills; left out: only lids and gaze move",
    )
    data.add_argument(
        "--views",
        type=Path,
        metavar="FOLDER",
        help="make four views of every portrait once and keep them here, instead of new ones in every step: "
        "for machines where that takes as long as the step",
    )
    data.add_argument(
        "--clips", type=Path, action="append", default=[], metavar="FOLDER", help="of prepared video"
    )
    data.add_argument("--clip-share", type=float, default=0.4, help="of the pairs, if there are both kinds")

    how = fomm.add_argument_group("how")
    how.add_argument("--batch", type=positive, default=32)
    how.add_argument("--steps", type=int, default=10_000)
    how.add_argument(
        "--minutes", type=float, default=math.inf, help="end this call early, to be gone on from"
    )
    how.add_argument("--rate", type=float, default=2e-4, help="of learning")
    how.add_argument("--last-rate", type=float, default=0.0)
    how.add_argument("--warm-up", type=int, default=100, metavar="STEPS")
    how.add_argument("--average", type=float, default=0.999, help="decay of the averaged weights")
    how.add_argument("--save-every", type=positive, default=200, metavar="STEPS")
    how.add_argument("--sample-every", type=positive, default=500, metavar="STEPS")
    how.add_argument(
        "--half",
        action=argparse.BooleanOptionalAction,
        help="convolutions in bfloat16 (default on a GPU; some CPUs are twice as fast)",
    )
    how.add_argument(
        "--frozen-painter",
        action="store_true",
        help="train what finds and moves, not what encodes and paints: for fine-tuning the motion",
    )
    how.add_argument(
        "--frozen-detector",
        action="store_true",
        help="key-points stay where they are: for fine-tuning pictures; then also --weight equivariance=0 "
        "--weight frames=0",
    )
    how.add_argument(
        "--frozen-motion",
        action="store_true",
        help="key-points and flow stay as they are: for fine-tuning what paints; then also --weight X=0 for "
        "equivariance, frames, flow and gaps",
    )
    how.add_argument(
        "--frozen-norms", action="store_true", help="keep the statistics of batch norms: for fine-tuning"
    )

    loss = fomm.add_argument_group("loss")
    loss.add_argument(
        "--vgg", type=Path, help="weights of VGG-16 for the losses on features (vgg16_fp16.npz)"
    )
    loss.add_argument(
        "--facemesh", type=Path, metavar="FOLDER", help="of the zoo, for the losses landmarks and openings"
    )
    loss.add_argument(
        "--weight", type=_weight, action="append", default=[], metavar="LOSS=X", help=", ".join(LOSSES)
    )
    loss.add_argument(
        "--scales", type=float, nargs="+", default=[0.5], help="of whole pictures, for features"
    )
    loss.add_argument("--depth", type=int, default=3, help="blocks of VGG-16 for whole pictures")
    loss.add_argument("--part-depth", type=int, default=3, help="and for mouth, eyes and another place")
    loss.add_argument("--part-emphasis", type=float, default=8.0, help="of mouth and eyes in the flow loss")
    loss.add_argument(
        "--anchor",
        type=_anchor,
        action="append",
        default=[],
        metavar="KEYPOINT=POINT",
        help="FaceMesh point that a key-point is to be at, with --weight heat=X and keypoints=X",
    )
    fomm.set_defaults(run=_train)
