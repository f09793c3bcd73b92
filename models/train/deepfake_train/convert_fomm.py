"""FOMM checkpoint -> zoo folder of three ONNX graphs and a manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from .checkpoint import load_fomm
from .fomm import PRESETS, ConvBlock, Fomm
from .fomm_onnx import SIZE, encoder_graph, generator_graph, keypoint_graph
from .manifest import (
    UNKNOWN_LICENCE,
    Manifest,
    converted_from,
    licence_text,
    square_input,
    write_unless_there,
)
from .onnx_graph import save_graphs
from .random_fomm import random_fomm

SUMMARY = "First-order motion model: animates a portrait with the head motion of a driving face."
CARD = """\
# {name}

{summary}
256x256 RGB in [0,1], {keypoints} key-points, {parameters:,} parameters, sampling with
`align_corners={sampling}`.

{files}, opset 17, N is dynamic. Files `*-fp16.onnx`, where there are any, have the convolution trunks in half
precision. Feed square crops as the manifest says; they are those that fomm-lite was trained with, and nobody
measured whether others suit these weights better.

## Origin
{origin}

## Licence
{licence}, see the file LICENCE.

## Quality
Not measured here.

## Use and misuse
With portraits of people who agreed, or of nobody. Do not use it to make anyone appear to do what they did
not, or to pass as someone else; in many places that is an offence.
"""


ROLES = ("keypoints", "encoder", "generator")


def fomm_graph(model: Fomm, role: str, *, plain: bool = False, half: bool = False) -> onnx.ModelProto:
    """The graph of one of ``ROLES``, with a half-precision trunk if ``half``."""
    network = model.keypoint_detector if role == "keypoints" else model.generator
    tensors = {key: tensor.detach().numpy() for key, tensor in network.state_dict().items()}
    config = model.config
    if role == "keypoints":
        return keypoint_graph(tensors, temperature=config.temperature, plain=plain, half=half)
    if role == "encoder":
        return encoder_graph(tensors, plain=plain, half=half)
    return generator_graph(
        tensors, variance=config.variance, align_corners=config.align_corners, plain=plain, half=half
    )


def fomm_graphs(model: Fomm, *, plain: bool = False, half: bool = False) -> dict[str, onnx.ModelProto]:
    """All graphs of a model by role."""
    return {role: fomm_graph(model, role, plain=plain, half=half) for role in ROLES}


def write_fomm(
    model: Fomm, out: Path, *, name: str, summary: str, licence: str, origin: str, half: bool = True
) -> None:
    """Writes the graphs of a model and its manifest, with half-precision twins if ``half``.

    A licence file and a model card that lie there already stay.
    """
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    for twin in (False, True) if half else (False,):
        for role in ROLES:  # one at a time, since those of the published widths are large
            files |= save_graphs({role: fomm_graph(model, role, half=twin)}, out, half=twin)
    config = model.config
    last = model.generator.down_blocks[-1]
    assert isinstance(last, ConvBlock)
    width = last.norm.num_features
    side = SIZE >> config.generator.down_blocks
    texts = {
        "LICENCE": licence_text(name, licence, origin),
        "README.md": CARD.format(
            name=name,
            summary=summary,
            keypoints=config.keypoints,
            parameters=sum(
                parameter.numel()
                for network in (model.keypoint_detector, model.generator)
                for parameter in network.parameters()
            ),
            sampling=config.align_corners,
            files=", ".join(f"`{file}`" for file in files.values()),
            origin=origin,
            licence=licence,
        ),
    }
    for file, text in texts.items():
        write_unless_there(out / file, text)
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
    name: str | None = None,
    summary: str = SUMMARY,
    licence: str = UNKNOWN_LICENCE,
    origin: str | None = None,
    align_corners: bool = True,
    half: bool = True,
) -> None:
    """Converts a checkpoint in the published key layout, whatever its widths.

    Whose weights it holds cannot be told from it: left out, the name is the folder's, the licence is not
    known, and the origin is the file.
    """
    write_fomm(
        load_fomm(weights, align_corners=align_corners),
        out,
        name=name or out.resolve().name,
        summary=summary,
        licence=licence,
        origin=origin or converted_from(weights),
        half=half,
    )


def write_random_fomm(
    out: Path, *, preset: str, seed: int, align_corners: bool = True, half: bool = True
) -> None:
    """Writes a model with random weights, named after the folder."""
    write_fomm(
        random_fomm(replace(PRESETS[preset], align_corners=align_corners), seed),
        out,
        name=out.name,
        summary=f"First-order motion model of the widths '{preset}' with random weights, for measurements.",
        licence="MIT OR Apache-2.0",
        origin=f"Random numbers from seed {seed}; nobody trained it, and its pictures show nothing.",
        half=half,
    )
