"""``train fwa``."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from . import Commands
from .numbers import even, positive


def _weighted(text: str) -> tuple[Path, float]:
    folder, _, weight = text.partition("=")
    return Path(folder), float(weight or 1)


def _share(text: str) -> tuple[Path, float]:
    graph, equals, share = text.rpartition("=")
    if not equals or not 0 < float(share) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not GRAPH=SHARE with a share between 0 and 1")
    return Path(graph), float(share)


def _family(text: str) -> tuple[str, float]:
    family, _, share = text.partition("=")
    if not family or not 0 <= float(share or -1) <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not FAMILY=SHARE with a share from 0 to 1")
    return family, float(share)


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from ..training.fwa import FwaSettings, FwaTraining
    from ..training.fwa_data import Sources
    from ..training.loop import Schedule, note_weights, run

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settings = FwaSettings(
        Sources(tuple(arguments.pack), tuple(arguments.prepared), dict(arguments.share)),
        preset=arguments.preset,
        start=arguments.start,
        frozen=arguments.frozen,
        batch=arguments.batch,
        average=arguments.average,
        half=arguments.half,
        seed=arguments.seed,
    )
    schedule = Schedule(
        arguments.steps,
        arguments.rate,
        last_rate=arguments.rate / 50,
        warm_up=min(100, arguments.steps // 10),
        minutes=arguments.minutes,
        save_every=arguments.save_every,
        sample_every=arguments.save_every * 2,
    )
    training = FwaTraining(settings, device=arguments.device, workers=arguments.workers)
    try:
        done = run(
            training,
            arguments.run_folder,
            schedule,
            settings.plain() | {"steps": schedule.steps, "rate": schedule.rate},
        )
        if arguments.blend is not None:
            training.blend(*arguments.blend)
        report = training.finish(arguments.run_folder, count=arguments.held_out)
        note_weights(arguments.run_folder, done)
    finally:
        training.close()
    print(f"{done} of {schedule.steps} steps; held-out pictures:")
    for level in ("mild", "strong"):
        found = report[level]
        alarms, error = found.pop("false alarms"), found.pop("calibration error")
        print(f"{level}: {100 * alarms:.1f} % false alarms, calibration error {error:.3f}")
        for family, values in found.items():
            print(f"  {family}: AUC {values['area under curve']:.3f}, recall {100 * values['recall']:.1f} %")
    print(f"threshold {report['threshold']:.3f}, uncertain from {report['uncertain from']:.3f}")
    print(f"python -m deepfake_train export {arguments.run_folder} --out FOLDER")


def add(kinds: Commands) -> None:
    """Adds ``fwa`` to what can be trained."""
    fwa = kinds.add_parser("fwa", help="the classifier that finds warped and blended faces")
    fwa.add_argument(
        "--run", dest="run_folder", type=Path, required=True, help="folder of the run; may be gone on from"
    )
    fwa.add_argument(
        "--pack",
        type=_weighted,
        action="append",
        required=True,
        metavar="FOLDER[=WEIGHT]",
        help="real faces; may be given again, for a mix",
    )
    fwa.add_argument(
        "--prepared",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="pairs that `prepare reenacted` or `prepare compressed` made; may be given again",
    )
    fwa.add_argument(
        "--share",
        type=_family,
        action="append",
        default=[],
        metavar="FAMILY=SHARE",
        help="how much of the training a family of fakes is, beside the others: fwa, self_blended, reposed, "
        "reenacted; may be given again",
    )
    fwa.add_argument("--start", type=Path, help="graph of the zoo (.onnx) to go on from, or a trunk (.npz)")
    fwa.add_argument(
        "--blend",
        type=_share,
        metavar="GRAPH=SHARE",
        help="in the end, take that share of the weights from a graph that was gone on from",
    )
    fwa.add_argument("--preset", choices=("full", "tiny"), default="full")
    fwa.add_argument(
        "--frozen", type=int, default=0, metavar="N", help="keep the first N layers of the trunk"
    )
    fwa.add_argument("--steps", type=int, default=3000)
    fwa.add_argument("--batch", type=even, default=64, help="pictures, in pairs")
    fwa.add_argument("--rate", type=float, default=3e-4, help="highest learning rate")
    fwa.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    fwa.add_argument("--half", action="store_true", help="bfloat16, where the hardware is good at it")
    fwa.add_argument("--minutes", type=float, default=math.inf, help="stop after that time")
    fwa.add_argument("--save-every", type=positive, default=200, metavar="STEPS")
    fwa.add_argument("--held-out", type=positive, default=100, metavar="PAIRS", help="a family and strength")
    fwa.add_argument("--workers", type=int, default=0, help="processes that make pictures")
    fwa.add_argument("--threads", type=int, default=0, help="of PyTorch on the CPU")
    fwa.add_argument("--device", default="cpu", help="cpu, cuda")
    fwa.add_argument("--seed", type=int, default=1)
    fwa.set_defaults(run=_train)
