"""Face-warping-artifact classifier, exported to ONNX by the training -> zoo folder."""

from __future__ import annotations

from pathlib import Path

import onnx

from .half_precision import half_trunk
from .manifest import Manifest, half_role, square_input

# false alarms on hard held-out pictures, 5 % and 10 %: see the model card
THRESHOLD = 0.874
UNCERTAIN = 0.811
LICENCE = "(MIT OR Apache-2.0) AND BSD-3-Clause"
ORIGIN = (
    "Trained by this project on 1,973 synthetic faces, camera portraits (CC0), talkers of the GRID corpus "
    "(Cooke, Barker, Cunningham, Shao 2006, CC BY 4.0) and a webcam video (MIT) with fakes made on the way; "
    "the trunk starts from torchvision's MobileNetV2 ImageNet weights."
)
# fitted by deepfake_train.crop_fit
CROP = {"scale": 1.51, "shift": [0.0, -0.046], "border": "mirror"}


def convert_fwa(
    weights: Path,
    out: Path,
    *,
    name: str = "fwa-lite",
    licence: str = LICENCE,
    origin: str = ORIGIN,
    threshold: float = THRESHOLD,
    uncertain: float = UNCERTAIN,
) -> None:
    """Checks names and shapes, gives the graph the fixed ones; writes both precisions and the manifest.

    Scores from ``uncertain`` to ``threshold`` are neither real nor fake. By default both are those of the
    model in the zoo; another training prints its own. So are name, licence and origin: `export` gives others.
    """
    if not 0 < uncertain <= threshold < 1:
        raise ValueError(f"0 < uncertain <= threshold < 1 expected, not {uncertain} and {threshold}")
    model = onnx.load(weights)
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise ValueError(f"{weights}: one input and one output expected")
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    if shape[1:] != [3, 224, 224]:
        raise ValueError(f"{weights}: input [N, 3, 224, 224] expected, not {shape}")
    _rename(model.graph, model.graph.input[0].name, "input")
    _rename(model.graph, model.graph.output[0].name, "logit")
    onnx.checker.check_model(model, full_check=True)
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / "fwa-lite.onnx")
    onnx.save(half_trunk(model), out / "fwa-lite-fp16.onnx")
    Manifest(
        name=name,
        kind="fwa",
        summary="Finds faces that were warped and blended into a picture (face warping artifacts).",
        licence=licence,
        origin=origin,
        files={"network": "fwa-lite.onnx", half_role("network"): "fwa-lite-fp16.onnx"},
        sections={
            "input": square_input(224, mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
            "crop": CROP,
            "fwa": {"output": "logit", "threshold": threshold, "uncertain": [uncertain, threshold]},
        },
    ).write(out)


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    for value in (*graph.input, *graph.output):
        if value.name == old:
            value.name = new
