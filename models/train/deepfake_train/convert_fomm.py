"""FOMM checkpoint -> zoo folder of three ONNX graphs and a manifest."""

from __future__ import annotations

from pathlib import Path

import onnx

from .checkpoint import load_fomm
from .fomm import PRESETS, Fomm
from .fomm_onnx import SIZE, encoder_graph, generator_graph, keypoint_graph
from .manifest import Manifest, square_input
from .onnx_graph import save_graphs
from .random_fomm import random_fomm

LITE_SUMMARY = "Compact first-order motion model: animates a portrait with the head motion of a driving face."
LITE_ORIGIN = "Trained by this project for 16 minutes on 1,681 synthetic portraits re-posed by a 3D warp."


def fomm_graphs(model: Fomm, *, plain: bool = False, half: bool = False) -> dict[str, onnx.ModelProto]:
    """The graphs of a model by role, with half-precision trunks if ``half``."""
    detector, generator = (
        {key: tensor.detach().numpy() for key, tensor in network.state_dict().items()}
        for network in (model.keypoint_detector, model.generator)
    )
    config = model.config
    return {
        "keypoints": keypoint_graph(detector, temperature=config.temperature, plain=plain, half=half),
        "encoder": encoder_graph(generator, plain=plain, half=half),
        "generator": generator_graph(
            generator, variance=config.variance, align_corners=config.align_corners, plain=plain, half=half
        ),
    }


def write_fomm(
    model: Fomm, out: Path, *, name: str, summary: str, licence: str, origin: str, half: bool = True
) -> None:
    """Writes the graphs of a model and its manifest, with half-precision twins if ``half``."""
    out.mkdir(parents=True, exist_ok=True)
    files = save_graphs(fomm_graphs(model), out)
    if half:
        files |= save_graphs(fomm_graphs(model, half=True), out, half=True)
    config = model.config
    width = model.generator.down_blocks[-1].norm.num_features
    side = SIZE >> config.generator.down_blocks
    Manifest(
        name=name,
        kind="fomm",
        summary=summary,
        licence=licence,
        origin=origin,
        files=files,
        sections={
            "input": square_input(SIZE),
            "crop": {"scale": 1.7, "shift": [0.0, -0.06], "border": "replicate"},
            "fomm": {
                "keypoints": config.keypoints,
                "align_corners": config.align_corners,
                "features": [width, side, side],
                "small": [config.channels, SIZE // 4, SIZE // 4],
            },
        },
    ).write(out)


def convert_fomm(
    weights: Path,
    out: Path,
    *,
    name: str = "fomm-lite",
    summary: str = LITE_SUMMARY,
    licence: str = "MIT OR Apache-2.0",
    origin: str = LITE_ORIGIN,
    align_corners: bool = True,
    half: bool = True,
) -> None:
    """Converts a checkpoint in the published key layout, whatever its widths."""
    model = load_fomm(weights, align_corners=align_corners)
    write_fomm(model, out, name=name, summary=summary, licence=licence, origin=origin, half=half)


def write_random_fomm(out: Path, *, preset: str, seed: int) -> None:
    """Writes a model with random weights, named after the folder."""
    write_fomm(
        random_fomm(PRESETS[preset], seed),
        out,
        name=out.name,
        summary=f"First-order motion model of the widths '{preset}' with random weights, for measurements.",
        licence="MIT OR Apache-2.0",
        origin=f"Random numbers from seed {seed}; nobody trained it, and its pictures show nothing.",
    )
