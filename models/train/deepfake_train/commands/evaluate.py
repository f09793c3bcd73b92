"""``evaluate``: figures, tables and plots for the model cards."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands
from .numbers import positive


def _evaluate_fomm(arguments: argparse.Namespace) -> None:
    from ..evaluation.judge import Weights
    from ..evaluation.reenactment import evaluate_fomm, markdown

    lpips: list[Path] = arguments.lpips_weights or []
    if len(lpips) > 2:
        raise SystemExit("--lpips-weights: VGG-16 as .npz, and the linear weights (vgg.pth or .npz)")
    vgg, linear = [*lpips, None, None][:2]
    if linear is None:
        print("LPIPS is left out: it needs --lpips-weights VGG.npz vgg.pth")
    results = evaluate_fomm(
        arguments.model,
        arguments.zoo,
        arguments.clips,
        arguments.out,
        every=arguments.every,
        portraits=arguments.portraits,
        most_portraits=arguments.most_portraits,
        weights=Weights(vgg, linear, arguments.identity_network),
        sheet=arguments.sheet,
        threads=arguments.threads,
    )
    print(markdown(results))


def _evaluate_fwa(arguments: argparse.Namespace) -> None:
    from ..evaluation.detection import evaluate_fwa, markdown

    results = evaluate_fwa(
        arguments.model,
        arguments.zoo,
        arguments.pack,
        arguments.clips,
        arguments.out,
        animator=arguments.animator or arguments.zoo / "fomm-lite",
        groups=arguments.groups,
        stills=arguments.stills,
        levels=arguments.levels,
        every=arguments.every,
        portraits=arguments.portraits,
        threads=arguments.threads,
    )
    print(markdown(results))


def add(commands: Commands) -> None:
    """Adds ``evaluate`` and what it evaluates."""
    evaluate = commands.add_parser("evaluate", help="figures for the model card of a zoo model")
    kinds = evaluate.add_subparsers(required=True)
    fomm = kinds.add_parser("fomm", help="a motion model (FOMM or X2Face) on talking heads")
    _add_common(fomm)
    fomm.add_argument("--clips", type=Path, nargs="+", required=True, help="videos of one face each")
    fomm.add_argument(
        "--portraits",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="pictures, or packs of prepare stills (.npz), whose test part is taken; moved by the clips",
    )
    fomm.add_argument(
        "--most-portraits", type=positive, default=12, metavar="N", help="of them all, taken evenly"
    )
    fomm.add_argument(
        "--lpips-weights",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="VGG-16 as .npz, then LPIPS's vgg.pth; models/train/README.md says where they are from",
    )
    fomm.add_argument(
        "--identity-network",
        type=Path,
        metavar="ONNX",
        help="takes aligned faces of 112x112, or is what convert identity writes",
    )
    fomm.add_argument("--sheet", type=Path, metavar="PNG", help="source, driver and prediction of each clip")
    fomm.set_defaults(run=_evaluate_fomm)
    fwa = kinds.add_parser("fwa", help="a classifier on real pictures and fakes of several families")
    _add_common(fwa)
    fwa.add_argument(
        "--clips",
        type=Path,
        nargs="+",
        default=[],
        help="videos of one face each, for the groups video and own",
    )
    fwa.add_argument("--pack", type=Path, required=True, help="folder of the packed faces")
    fwa.add_argument(
        "--animator", type=Path, help="motion model of the own output; left out: fomm-lite of the zoo"
    )
    groups = ("held-out", "camera", "video", "own")
    fwa.add_argument(
        "--groups", nargs="+", choices=groups, default=groups, help="of pictures; all if left out"
    )
    fwa.add_argument(
        "--stills",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="further pack, whose held-out faces are a group of their own; may be given again",
    )
    fwa.add_argument(
        "--levels",
        nargs="+",
        default=("none", "jpeg-75", "h264-23", "h264-28", "h264-35"),
        help="of compression: none, jpeg-QUALITY, h264-CRF",
    )
    fwa.add_argument("--portraits", type=int, default=40, help="held-out portraits that it animates")
    fwa.set_defaults(run=_evaluate_fwa)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of the zoo")
    parser.add_argument("--zoo", type=Path, required=True, help="where the face networks are")
    parser.add_argument("--every", type=positive, default=5, help="frames from one that is used to the next")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--threads", type=int, default=2)
