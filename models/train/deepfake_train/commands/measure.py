"""Commands that make golden data and measure.

``golden``, ``golden-x2face``, ``measure``, ``measure-pytorch``, ``fit-crop``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands


def _golden(arguments: argparse.Namespace) -> None:
    from ..make_golden import golden_fomm, golden_fwa, golden_mediapipe

    if arguments.fomm_weights is not None:
        golden_fomm(arguments.fomm_weights, arguments.out)
    golden_fwa(arguments.zoo, arguments.out)
    if arguments.wheel is not None:
        golden_mediapipe(arguments.wheel, arguments.zoo, arguments.out)


def _golden_x2face(arguments: argparse.Namespace) -> None:
    from ..make_golden import golden_x2face

    golden_x2face(arguments.out)


def _measure(arguments: argparse.Namespace) -> None:
    from ..manifest import half_role
    from ..measure import golden_inputs, latencies

    plain = {}
    if arguments.plain_weights:
        from ..checkpoint import load_fomm
        from ..convert_fomm import fomm_graphs

        model = load_fomm(arguments.plain_weights, align_corners=True)
        plain = {role: graph.SerializeToString() for role, graph in fomm_graphs(model, plain=True).items()}
    # half-precision twins are for GPUs
    graphs = [
        path
        for path in arguments.zoo.glob(f"{arguments.model}/*.onnx")
        if not path.stem.endswith(half_role(""))
    ]
    for path in sorted(graphs):
        models = {path.stem: path}
        if path.stem in plain:
            models[f"{path.stem} without rewrites"] = plain[path.stem]
        inputs = golden_inputs(arguments.golden, arguments.model, path.stem)
        found = latencies(models, inputs, threads=arguments.threads, seconds=arguments.seconds)
        for name, result in found.items():
            print(f"{name}: median {result.median:.1f} ms, fastest {result.fastest:.1f} ms")


def _measure_pytorch(arguments: argparse.Namespace) -> None:
    import torch

    from ..measure_pytorch import pytorch_latencies

    if arguments.device == "cuda":
        print(torch.cuda.get_device_name())
    for what, median in pytorch_latencies(arguments.preset, arguments.device):
        print(f"PyTorch {torch.__version__}, {what}: {median:.2f} ms a frame")


def _fit_crop(arguments: argparse.Namespace) -> None:
    from ..crop_fit import fit_crop

    fit = fit_crop(arguments.pack)
    print(f"scale {fit.scale:.3f} (90 % within {fit.scale_spread[0]:.2f}..{fit.scale_spread[1]:.2f})")
    print(f"shift {fit.shift[0]:.3f} {fit.shift[1]:.3f}")


def add(commands: Commands) -> None:
    """Adds the commands."""
    golden = commands.add_parser("golden", help="make the golden data of the zoo")
    golden.add_argument("--fomm-weights", type=Path, help="left out: fomm-lite's stay as they are")
    golden.add_argument("--wheel", type=Path, help="left out: those of MediaPipe's models stay as they are")
    golden.add_argument("--zoo", type=Path, required=True)
    golden.add_argument("--out", type=Path, required=True)
    golden.set_defaults(run=_golden)

    golden_x2face = commands.add_parser("golden-x2face", help="make the X2Face model of the Rust tests")
    golden_x2face.add_argument("--out", type=Path, required=True)
    golden_x2face.set_defaults(run=_golden_x2face)

    measure = commands.add_parser("measure", help="time the graphs of a zoo model")
    measure.add_argument("--model", default="fomm-lite")
    measure.add_argument("--zoo", type=Path, required=True)
    measure.add_argument("--golden", type=Path, required=True)
    measure.add_argument("--threads", type=int, default=2)
    measure.add_argument("--seconds", type=float, default=5.0, help="a graph")
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
