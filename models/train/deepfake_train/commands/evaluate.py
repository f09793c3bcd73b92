"""``evaluate``: figures, tables and plots for the model cards."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands


def _evaluate_fomm(arguments: argparse.Namespace) -> None:
    from ..evaluation.reenactment import Weights, evaluate_fomm, markdown

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
        weights=Weights(vgg, linear, arguments.identity_network),
        sheet=arguments.sheet,
        threads=arguments.threads,
    )
    print(markdown(results))


def add(commands: Commands) -> None:
    """Adds ``evaluate`` and what it evaluates."""
    evaluate = commands.add_parser("evaluate", help="figures for the model card of a zoo model")
    kinds = evaluate.add_subparsers(required=True)
    fomm = kinds.add_parser("fomm", help="a motion model on talking heads, beside copying the source")
    _add_common(fomm)
    fomm.add_argument("--every", type=int, default=5, help="frames from one that is used to the next")
    fomm.add_argument(
        "--lpips-weights",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="VGG-16 as .npz, then LPIPS's vgg.pth; models/train/README.md says where they are from",
    )
    fomm.add_argument("--identity-network", type=Path, metavar="ONNX", help="takes aligned faces of 112x112")
    fomm.add_argument("--sheet", type=Path, metavar="PNG", help="source, driver and prediction of each clip")
    fomm.set_defaults(run=_evaluate_fomm)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", type=Path, required=True, help="folder of the zoo")
    parser.add_argument("--zoo", type=Path, required=True, help="where the face networks are")
    parser.add_argument("--clips", type=Path, nargs="+", required=True, help="videos of one face each")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--threads", type=int, default=2)
