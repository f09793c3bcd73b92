"""Face-warping-artifact classifier, exported to ONNX by the training -> zoo folder."""

from __future__ import annotations

from pathlib import Path

import onnx

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

# fitted by deepfake_train.crop_fit
CROP = {"scale": 1.51, "shift": [0.0, -0.046], "border": "mirror"}


def convert_fwa(
    weights: Path,
    out: Path,
    *,
    threshold: float,
    uncertain: float,
    licence: str = UNKNOWN_LICENCE,
    origin: str | None = None,
    half: bool = True,
) -> None:
    """Checks names and shapes, gives the graph the fixed ones; writes both precisions and the manifest.

    Scores from ``uncertain`` to ``threshold`` are neither real nor fake; training prints both. The model is
    named after its folder. Left out, the licence is not known and the origin is the file. A ``LICENCE`` that
    lies in the folder stays.
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
    name, origin = out.resolve().name, origin or converted_from(weights)
    out.mkdir(parents=True, exist_ok=True)
    files = {"network": "fwa-lite.onnx"}
    onnx.save(model, out / "fwa-lite.onnx")
    if half:
        files[half_role("network")] = "fwa-lite-fp16.onnx"
        onnx.save(half_trunk(model), out / "fwa-lite-fp16.onnx")
    write_unless_there(out / "LICENCE", licence_text(name, licence, origin))
    Manifest(
        name=name,
        kind="fwa",
        summary="Finds faces that were warped and blended into a picture (face warping artifacts).",
        licence=licence,
        origin=origin,
        files=files,
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
