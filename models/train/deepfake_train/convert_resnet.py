"""Checkpoints of the published face-warping-artifact classifiers -> zoo folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx
from torch import Tensor

from .checkpoint import State
from .half_precision import half_trunk
from .manifest import (
    UNKNOWN_LICENCE,
    Manifest,
    converted_from,
    half_role,
    licence_text,
    square_input,
    write_unless_there,
)
from .resnet import BGR_MEAN, DSP_FWA, FWA, SIZE, TINY, ResNet, ResNetConfig, random_resnet
from .resnet_onnx import OUTPUT, classifier_graph
from .state_check import differences, real_numbers, without_numbers
from .stored_tensors import read_tensors, shown, shown_names

NETWORKS = {"dsp-fwa": DSP_FWA, "fwa": FWA}
# the name of the trunk in DSP-FWA's own class, which wraps torchvision's network twice; ours; torchvision's
PREFIXES = ("resnet.resnet.", "resnet.", "")
# heads that DSP-FWA's checkpoint brings along unused: of ImageNet, and of the plain network in between
UNUSED_HEADS = ("resnet.resnet.fc.", "resnet.fc.")
MOST_LINES = 8

# The reference grows the box of the 68 landmarks by up to 1/8 of its width at either side, up to 1/5 of its
# height at the top and half of that at the bottom. The mean of that, on the project's portrait in terms of
# the box of the FaceMesh points, is 1.01 wide and 0.94 high; the square has their mean.
CROP = {"scale": 0.98, "shift": [0.0, 0.07], "border": "replicate"}
# no other is published, and without the data that the weights were trained on none can be fitted
THRESHOLD = 0.5
FAKE_CLASS = 0


def _weights(path: Path) -> State:
    """The tensors of a checkpoint by name, without what wraps them."""
    content = read_tensors(path)
    for wrapper in ("net", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
            break
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path}: no tensors by name in this checkpoint")
    odd = [key for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if odd:
        raise ValueError(f"{path}: {shown_names(odd, MOST_LINES)}: not tensors by name")
    if all(key.startswith("module.") for key in content):  # of a network that was trained on several GPUs
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return {key: value for key, value in content.items() if not key.endswith("num_batches_tracked")}


def _expected(config: ResNetConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a network of that configuration."""
    state = without_numbers(lambda: ResNet(config)).state_dict()
    return {
        key: tuple(value.shape) for key, value in state.items() if not key.endswith("num_batches_tracked")
    }


def _differences(state: State, expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The first few of what is missing (-), of another shape (~) and too much (+), a line each."""
    found = differences(expected, state)
    sorts = (
        [f"  - {key} {list(shape)}" for key, shape in found.missing],
        [f"  ~ {key} {list(shape)} instead of {list(wanted)}" for key, wanted, shape in found.different],
        [f"  + {shown(key)} {list(shape)}" for key, shape in found.unknown],
    )
    lines = []
    for sort in sorts:
        lines += sort[:MOST_LINES]
        if len(sort) > MOST_LINES:
            lines.append(f"  {sort[0][2]} and {len(sort) - MOST_LINES} more")
    return lines


def load_classifier(path: Path, config: ResNetConfig) -> State:
    """The tensors of a checkpoint by torchvision's names, in float32; all must be there, fit and be finite.

    Raises ``ValueError`` that lists what does not.
    """
    state = _weights(path)
    prefix = next((prefix for prefix in PREFIXES if f"{prefix}conv1.weight" in state), "")
    named: State = {}
    for key, value in state.items():
        if config.pyramid and key.startswith(UNUSED_HEADS):
            continue
        name = key.removeprefix(prefix)
        # with and without the prefix: neither may quietly win
        named[f"{key} (twice)" if name in named else name] = value
    odd = _differences(named, _expected(config))
    if odd:
        raise ValueError(
            f"{path} does not hold the wanted network (- missing, ~ other shape, + too much):\n"
            + "\n".join(odd)
        )
    # only now that the shapes are known to fit, since this copies what is not in float32
    real = {key: real_numbers(value) for key, value in named.items()}
    broken = [key for key, value in real.items() if value is None]
    if broken:
        names = shown_names(broken, MOST_LINES)
        raise ValueError(f"{path}: numbers that are whole or not finite in {names}")
    return {key: value for key, value in real.items() if value is not None}


def write_classifier(
    state: State,
    config: ResNetConfig,
    out: Path,
    *,
    name: str,
    licence: str,
    origin: str,
    half: bool = True,
) -> None:
    """Writes a classifier's zoo folder with licence and model card, and a half-precision twin if ``half``."""
    kind = "dsp-fwa" if config.pyramid else "fwa"
    graph = classifier_graph({key: value.detach().numpy() for key, value in state.items()}, config)
    files = {"network": f"{kind}.onnx"}
    twin = half_trunk(graph) if half else None
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(graph, out / files["network"])
    if twin is not None:
        files[half_role("network")] = f"{kind}-fp16.onnx"
        onnx.save(twin, out / files[half_role("network")])
    Manifest(
        name=name,
        kind=kind,
        summary=f"Finds faces that were warped into a picture; the published {kind.upper()} network.",
        licence=licence,
        origin=origin,
        files=files,
        sections={
            "input": square_input(
                SIZE,
                channels="bgr",
                mean=[round(value / 255, 7) for value in BGR_MEAN],
                std=[round(1 / 255, 10)] * 3,
            ),
            "crop": CROP,
            "fwa": {
                "output": OUTPUT,
                "fake_class": FAKE_CLASS,
                "threshold": THRESHOLD,
                "uncertain": [THRESHOLD, THRESHOLD],
            },
        },
    ).write(out)
    write_unless_there(out / "LICENCE", licence_text(name, licence, origin))
    write_unless_there(out / "README.md", _card(name, config, list(files.values()), origin))


def convert_classifier(
    checkpoint: Path, out: Path, *, network: str, licence: str = UNKNOWN_LICENCE, half: bool = True
) -> None:
    """Converts a checkpoint of ``NETWORKS``."""
    config = NETWORKS[network]
    write_classifier(
        load_classifier(checkpoint, config),
        config,
        out,
        name=network if config.pyramid else f"{network}-resnet-50",
        licence=licence,
        origin=converted_from(checkpoint),
        half=half,
    )


def write_random_classifier(out: Path, *, network: str, preset: str, seed: int, half: bool = True) -> None:
    """Writes a network with random weights, named after the folder."""
    config = NETWORKS[network] if preset == "full" else TINY[NETWORKS[network]]
    write_classifier(
        random_resnet(config, seed).state_dict(),
        config,
        out,
        name=out.name,
        licence="MIT OR Apache-2.0",
        origin=f"Random numbers from seed {seed}; nobody trained it, and its scores say nothing.",
        half=half,
    )


def _card(name: str, config: ResNetConfig, files: list[str], origin: str) -> str:
    head = (
        f"max pooling to {', '.join(f'{cells}x{cells}' for cells in config.pyramid)} cells and a linear layer"
        if config.pyramid
        else "the mean of the last map and a linear layer"
    )
    strides = "TF-slim (last unit of a stage)" if config.slim else "torchvision (first unit of a stage)"
    return f"""# {name}

A classifier after Li and Lyu, "Exposing DeepFake Videos By Detecting Face Warping Artifacts" (2019): a
residual network of {"-".join(map(str, config.units))} units, {head}; strides as in
{strides}. Batch norms are folded into the convolutions.

{", ".join(f"`{file}`" for file in files)}, opset 17: `input` [N,3,{SIZE},{SIZE}],
BGR in 0..255 less the ImageNet means, no deviation -> `{OUTPUT}` [N,2]; score = softmax,
class {FAKE_CLASS} (fake), 0 real .. 1 fake.

## Origin
{origin}

## Crop
A square of {CROP["scale"]} x the longer side of the FaceMesh box, moved down by 0.07 of it: the mean of the
crops of the reference, measured on one portrait. The reference takes a rectangle about 68 landmarks whose
margins are drawn at random, and stretches it; it classifies ten of them and takes the mean of the five
highest scores. `deepfakedetect crops=10` does that with ten fixed variations of the square.

## Threshold
{THRESHOLD}, which nobody fitted to data, and no band of uncertainty.

## Quality
Not measured here. To be filled in: area under the curve and false positives at the threshold, per kind of
fake and compression.

## Use and misuse
A hint for a person who looks further, never proof. Do not accuse or refuse anyone on its score, and do not
take "real" for a certificate.
"""
