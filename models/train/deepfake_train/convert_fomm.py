"""FOMM checkpoint -> zoo folder of three ONNX graphs and a manifest."""

from __future__ import annotations

from pathlib import Path

import onnx

from .checkpoint import load_fomm
from .fomm import Fomm
from .fomm_onnx import SIZE, encoder_graph, generator_graph, keypoint_graph
from .manifest import Manifest

LITE_SUMMARY = "Compact first-order motion model: animates a portrait with the head motion of a driving face."
LITE_ORIGIN = "Trained by this project for 16 minutes on 1,681 synthetic portraits re-posed by a 3D warp."
ROLES = ("keypoints", "encoder", "generator")


def fomm_graphs(model: Fomm, *, plain: bool = False) -> dict[str, onnx.ModelProto]:
    """The graphs of a model by role."""
    detector, generator = (
        {key: tensor.detach().numpy() for key, tensor in network.state_dict().items()}
        for network in (model.keypoint_detector, model.generator)
    )
    config = model.config
    return {
        "keypoints": keypoint_graph(detector, temperature=config.temperature, plain=plain),
        "encoder": encoder_graph(generator, plain=plain),
        "generator": generator_graph(
            generator, variance=config.variance, align_corners=config.align_corners, plain=plain
        ),
    }


def convert_fomm(
    weights: Path,
    out: Path,
    *,
    name: str = "fomm-lite",
    summary: str = LITE_SUMMARY,
    licence: str = "MIT OR Apache-2.0",
    origin: str = LITE_ORIGIN,
    align_corners: bool = True,
) -> None:
    """Converts a checkpoint in the published key layout, whatever its widths."""
    model = load_fomm(weights, align_corners=align_corners)
    out.mkdir(parents=True, exist_ok=True)
    for role, graph in fomm_graphs(model).items():
        onnx.save(graph, out / f"{role}.onnx")
    shape = model.config.generator
    width = model.generator.down_blocks[-1].norm.num_features
    side = SIZE >> shape.down_blocks
    Manifest(
        name=name,
        kind="fomm",
        summary=summary,
        licence=licence,
        origin=origin,
        files={role: f"{role}.onnx" for role in ROLES},
        sections={
            "input": {
                "width": SIZE,
                "height": SIZE,
                "layout": "nchw",
                "channels": "rgb",
                "mean": [0.0, 0.0, 0.0],
                "std": [1.0, 1.0, 1.0],
            },
            "crop": {"scale": 1.7, "shift": [0.0, -0.06], "border": "replicate"},
            "fomm": {
                "keypoints": model.config.keypoints,
                "align_corners": align_corners,
                "features": [width, side, side],
                "small": [model.config.channels, SIZE // 4, SIZE // 4],
            },
        },
    ).write(out)
