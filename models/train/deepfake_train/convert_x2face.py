"""X2Face checkpoint -> zoo folder of two ONNX graphs, a manifest, a licence file and a model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from .manifest import Manifest, square_input, write_unless_there
from .onnx_graph import save_graphs
from .random_x2face import random_x2face
from .state_check import StateMismatchError, fit_state, width, without_numbers
from .stored_half import stored_half
from .stored_tensors import read_tensors, shown_names
from .x2face import CROP_SCALE, CROP_SHIFT, LEVELS, PRESETS, SIZE, X2Face, X2FaceConfig
from .x2face_onnx import driver_graph, embedder_graph

PUBLISHED_LICENCE = "LicenseRef-X2Face"
PUBLISHED_ORIGIN = (
    "Wiles, Koepke and Zisserman, ECCV 2018, trained on VoxCeleb; converted from their checkpoint."
)
OWN_LICENCE = "MIT OR Apache-2.0"

PUBLISHED_TERMS = """\
SPDX-License-Identifier: LicenseRef-X2Face

These graphs were converted from a checkpoint in the layout of X2Face, by Olivia Wiles, A. Sophia Koepke and
Andrew Zisserman (University of Oxford). The conversion adds no rights and takes none away: whoever may use
the checkpoint may use this folder in the same way.

The authors publish their code under the MIT licence (github.com/oawiles/X2Face). We know of no licence that
they gave the weights, which were trained on VoxCeleb, pictures of real people out of videos. Ask the authors
before you pass this folder on or use it in a product; gst-plugin-deepfake does not ship it.

If you converted weights of your own, replace this text: --licence and --licence-file of the conversion do.
"""

OWN_TERMS = """\
SPDX-License-Identifier: MIT OR Apache-2.0

The graphs in this folder, whose weights are random numbers, may be used under either of the two licences, at
your choice. Both texts are in the file LICENSE of gst-plugin-deepfake, and under
https://spdx.org/licenses/MIT and https://spdx.org/licenses/Apache-2.0
"""

CARD = """\
# {name}

{summary}
256x256 RGB in [0,1], embedding network of {embedding:,} parameters, driving network of {driving:,}, latent
vector of {latent} numbers. Pictures are sampled with `align_corners={sampling}`, feature maps enlarged with
`align_corners={resize}`.

| graph | inputs | outputs |
|---|---|---|
| `embedder.onnx`, once a person | `source` [N,3,256,256], N pictures of them | `embedded` [1,3,256,256] |
| `driver.onnx`, every frame | `embedded`, `driving`, both [N,3,256,256] | `prediction` [N,3,256,256] |

Opset 17, N is dynamic. The embedded face is the mean of the unwrapped source pictures, weighted by their
confidence. Files `*-fp16.onnx`, where there are any, are the same graphs with convolution trunks in half
precision; flow, confidence, grid and sampling stay in float32, inputs and outputs too.

Feed square crops of faces as the manifest says, source and driving pictures alike. The crop is an estimate
of what VoxCeleb's boxes, enlarged 1.6 times, are in terms of the FaceMesh bounding box; nobody measured it.

## Origin
{origin}

Converted, from `models/train`, with

    python -m deepfake_train convert x2face {command} --out {name}

## Licence
{licence}, see the file LICENCE.

## Quality
Not measured. That the graphs give what our PyTorch implementation gives is tested in `models/train`; it says
nothing about how good the weights are.

## Limits
- Output pixels are pixels of the source pictures moved about: what no source picture shows cannot appear, and
  where the field points outside the embedded face the output is black.
- Nothing in the network keeps the shape of the driver's face out of the field: expect it to leak into the
  output.

## Use and misuse
With portraits of people who agreed, or of nobody. Do not use it to make anyone appear to do what they did
not, or to pass as someone else; in many places that is an offence.
"""


def infer_config(state: Mapping[str, object], *, align_corners: bool, resize: bool) -> X2FaceConfig:
    """The configuration these tensors seem to have; the published one where they do not tell."""
    published = PRESETS["published"]
    innermost = "pix2pixSampler.netG.model" + ".submodule" * (LEVELS - 1)
    return X2FaceConfig(
        base=width(state, "pix2pixUnwrapped.netG.model.down.0.weight", published.base),
        latent=width(state, f"{innermost}.down.1.weight", published.latent),
        align_corners=align_corners,
        resize_align_corners=resize,
    )


def load_x2face(path: Path, *, align_corners: bool, resize_align_corners: bool) -> X2Face:
    """The model of a checkpoint, ready for inference; every tensor must fit."""
    content = read_tensors(path)
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        names = shown_names(sorted(content, key=str)) if isinstance(content, Mapping) else None
        found = type(content).__name__ if names is None else names or "nothing"
        raise ValueError(f"{path}: no 'state_dict' in this checkpoint, only {found}")
    try:
        config = infer_config(state, align_corners=align_corners, resize=resize_align_corners)
    except StateMismatchError as refusal:
        raise StateMismatchError(f"{path}: {refusal}") from None
    model = without_numbers(lambda: X2Face(config))
    fit_state(model, state, str(path))
    return model.eval()


def x2face_graphs(model: X2Face, *, half: bool = False) -> dict[str, onnx.ModelProto]:
    """The graphs of a model by role, with half-precision trunks if ``half``."""
    embedding, driving = (
        {key: tensor.detach().numpy() for key, tensor in network.state_dict().items()}
        for network in (model.embedding_network, model.driving_network)
    )
    config = model.config
    switches = {
        "align_corners": config.align_corners,
        "resize_align_corners": config.resize_align_corners,
    }
    return {
        "embedder": embedder_graph(embedding, **switches, half=half),
        "driver": driver_graph(driving, **switches, half=half),
    }


def write_x2face(
    model: X2Face,
    out: Path,
    *,
    summary: str,
    licence: str,
    terms: str,
    origin: str,
    command: str,
    half: bool = True,
    compact: bool = False,
    crop_scale: float = CROP_SCALE,
) -> None:
    """Writes graphs, manifest, licence and model card, named after the folder; ``half`` adds the twins.

    ``compact`` stores the weights in half precision, and adds no twins: a third of the size on disk.

    ``terms`` is the text of the licence file, ``command`` what follows ``convert x2face`` to do this again.
    """
    out.mkdir(parents=True, exist_ok=True)
    name = out.resolve().name
    graphs = x2face_graphs(model)
    if compact:
        graphs = {role: stored_half(graph) for role, graph in graphs.items()}
    files = save_graphs(graphs, out)
    if half and not compact:
        files |= save_graphs(x2face_graphs(model, half=True), out, half=True)
    config = model.config
    Manifest(
        name=name,
        kind="x2face",
        summary=summary,
        licence=licence,
        origin=origin,
        files=files,
        sections={
            "input": square_input(SIZE),
            "crop": {"scale": crop_scale, "shift": [0.0, CROP_SHIFT], "border": "replicate"},
            "x2face": {
                "align_corners": config.align_corners,
                "resize_align_corners": config.resize_align_corners,
                "embedded": [3, SIZE, SIZE],
            },
        },
    ).write(out)
    embedding, driving = (
        sum(parameter.numel() for parameter in network.parameters())
        for network in (model.embedding_network, model.driving_network)
    )
    card = CARD.format(
        name=name,
        summary=summary,
        embedding=embedding,
        driving=driving,
        latent=config.latent,
        sampling=config.align_corners,
        resize=config.resize_align_corners,
        origin=origin,
        command=command,
        licence=licence,
    )
    write_unless_there(out / "README.md", card)
    write_unless_there(out / "LICENCE", terms)


def _options(config: X2FaceConfig, *, half: bool, compact: bool = False) -> str:
    """The switches that differ from their defaults, for the command in the model card."""
    switches = {
        " --no-align-corners": not config.align_corners,
        " --no-resize-align-corners": not config.resize_align_corners,
        " --no-half": not half,
        " --compact": compact,
    }
    return "".join(text for text, given in switches.items() if given)


def convert_x2face(
    checkpoint: Path,
    out: Path,
    *,
    licence: str = PUBLISHED_LICENCE,
    terms: str = PUBLISHED_TERMS,
    origin: str = PUBLISHED_ORIGIN,
    align_corners: bool = True,
    resize_align_corners: bool = True,
    half: bool = True,
    compact: bool = False,
    crop_scale: float = CROP_SCALE,
) -> None:
    """Converts a checkpoint in the published key layout, whatever its widths; see `write_x2face`."""
    model = load_x2face(checkpoint, align_corners=align_corners, resize_align_corners=resize_align_corners)
    write_x2face(
        model,
        out,
        summary="X2Face: animates one or several portraits of a person with the motion of a driving face.",
        licence=licence,
        terms=terms,
        origin=origin,
        command=checkpoint.name + _options(model.config, half=half, compact=compact),
        half=half,
        compact=compact,
        crop_scale=crop_scale,
    )


def write_random_x2face(
    out: Path, *, config: X2FaceConfig, seed: int, preset: str, half: bool = True
) -> None:
    """Writes a model with random weights; ``preset`` names its widths."""
    write_x2face(
        random_x2face(config, seed),
        out,
        summary=f"X2Face of the widths '{preset}' with random weights, for measurements.",
        licence=OWN_LICENCE,
        terms=OWN_TERMS,
        origin=f"Random numbers from seed {seed}; nobody trained it, and its pictures show nothing.",
        command=f"--random {seed} --preset {preset}" + _options(config, half=half),
        half=half,
    )
