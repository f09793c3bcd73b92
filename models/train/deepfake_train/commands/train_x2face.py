"""``train x2face``: X2Face."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from . import Commands
from .numbers import positive


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from ..training.clips import CROP_SCALE, Clips, all_clips
    from ..training.loop import Schedule, note_weights, run
    from ..training.x2face.trainer import Recipe, X2FaceTraining
    from ..x2face import CROP_SHIFT, PRESETS, SIZE

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    folders = all_clips(arguments.clips)
    people = Clips(folders, SIZE, device)
    held_out = Clips(all_clips([arguments.held_out]), SIZE, device) if arguments.held_out else people
    recipe = Recipe(
        seed=arguments.seed,
        people=arguments.batch,
        sources=arguments.sources,
        guidance=arguments.guidance,
        roughness=arguments.roughness,
        decay=arguments.average,
        half=arguments.half,
    )
    if min(people.shortest(), held_out.shortest()) <= recipe.sources:
        raise SystemExit(
            f"{recipe.sources} sources and a driving picture need clips of more frames than that"
        )
    face = people.average_face(CROP_SCALE, CROP_SHIFT)
    training = X2FaceTraining(PRESETS[arguments.preset], recipe, people, held_out, face, device)
    schedule = Schedule(
        steps=arguments.steps,
        rate=arguments.rate,
        last_rate=arguments.rate / 50,
        warm_up=min(100, arguments.steps // 10),
        minutes=arguments.minutes,
        save_every=arguments.save_every,
        sample_every=arguments.sample_every,
    )
    settings = {
        "preset": arguments.preset,
        "recipe": recipe.settings(),
        "clips": [str(folder) for folder in folders],
        "steps": schedule.steps,
        "rate": schedule.rate,
    }
    done = run(training, arguments.out, schedule, settings)
    weights = arguments.out / "x2face.pth"
    torch.save({"state_dict": training.averaged().state_dict()}, weights)
    note_weights(arguments.out, done)
    print(f"{done} of {schedule.steps} steps; averaged weights in {weights}")
    print(f"python -m deepfake_train export {weights.parent} --out FOLDER")


def add(kinds: Commands) -> None:
    """Adds ``x2face``."""
    x2face = kinds.add_parser(
        "x2face",
        help="X2Face, its first stage",
        description="Trains, or goes on training, in a run folder. With a folder that was begun, give the "
        "same options; --minutes, --device and --threads may differ.",
    )
    x2face.add_argument("--out", type=Path, required=True, help="run folder")
    x2face.add_argument(
        "--clips",
        type=Path,
        action="append",
        required=True,
        metavar="FOLDER",
        help="of prepared video, or of views that train fomm made; may be given again",
    )
    x2face.add_argument("--held-out", type=Path, metavar="FOLDER", help="clips for the sample sheets")
    x2face.add_argument("--preset", choices=("lite", "tiny", "published"), default="lite", help="widths")
    x2face.add_argument("--sources", type=positive, default=2, help="source pictures of each person")
    x2face.add_argument("--batch", type=positive, default=8, help="people a step")
    x2face.add_argument("--steps", type=int, default=10_000)
    x2face.add_argument("--minutes", type=float, default=math.inf, help="end this call early")
    x2face.add_argument("--rate", type=float, default=4e-4, help="of learning")
    x2face.add_argument("--average", type=float, default=0.998, help="decay of the averaged weights")
    x2face.add_argument("--guidance", type=float, default=0.02, help="weight of the points of the face mesh")
    x2face.add_argument("--roughness", type=float, default=0.02, help="weight of the fields' bending")
    x2face.add_argument("--save-every", type=positive, default=200, metavar="STEPS")
    x2face.add_argument("--sample-every", type=positive, default=200, metavar="STEPS")
    x2face.add_argument("--half", action="store_true", help="bfloat16, where the hardware is good at it")
    x2face.add_argument("--threads", type=int, default=0, help="of PyTorch on the CPU")
    x2face.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    x2face.add_argument("--seed", type=int, default=1)
    x2face.set_defaults(run=_train)
