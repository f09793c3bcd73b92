"""Makes the golden data of the zoo: every graph's outputs as a second implementation computes them.

FOMM: our PyTorch model. MediaPipe: the TFLite interpreter on the original files. FWA: the numpy operators
that the ONNX project gives as the definition of its format. None of them shares code with ONNX Runtime.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx.reference import ReferenceEvaluator

from .checkpoint import load_fomm
from .convert_mediapipe import SOURCES, read_tflite
from .fomm import Keypoints
from .golden import Floats, Seeded, write_case

PIXEL_TOLERANCE = 5e-4  # MediaPipe's outputs are in pixels, up to 200


def golden_fomm(weights: Path, folder: Path, *, model_name: str = "fomm-lite") -> None:
    """Key-points of two pictures of noise feed the generator, so that their frames are plausible ones."""
    model = load_fomm(weights, align_corners=True)
    reference = f"PyTorch {torch.__version__.split('+')[0]}, float32, CPU"
    source, driving = Seeded((1, 3, 256, 256), seed=1), Seeded((1, 3, 256, 256), seed=2)
    with torch.inference_mode():
        source_points = model.keypoint_detector(torch.from_numpy(source.tensor()))
        driving_points = model.keypoint_detector(torch.from_numpy(driving.tensor()))
        features, small = model.generator.encode(torch.from_numpy(source.tensor()))
        # noise has nothing to find: spread the points over the picture
        spread = Seeded((2, 1, model.config.keypoints, 2), seed=3, low=-0.8, high=0.8).tensor()
        source_points = Keypoints(torch.from_numpy(spread[0]), source_points.jacobian)
        moved = torch.from_numpy(0.9 * spread[0] + 0.1 * spread[1])
        driven = Keypoints(moved, driving_points.jacobian)
        generator_features = Seeded(tuple(features.shape), seed=4, low=0.0, high=2.0)
        generator_small = Seeded(tuple(small.shape), seed=5)
        prediction = model.generator.decode(
            torch.from_numpy(generator_features.tensor()),
            torch.from_numpy(generator_small.tensor()),
            source_points,
            driven,
        )
        detected = model.keypoint_detector(torch.from_numpy(source.tensor()))
    write_case(
        folder,
        model=model_name,
        file="keypoints.onnx",
        reference=reference,
        inputs={"image": source},
        outputs={"value": detected.value.numpy(), "jacobian": detected.jacobian.numpy()},
    )
    write_case(
        folder,
        model=model_name,
        file="encoder.onnx",
        reference=reference,
        inputs={"source": source},
        outputs={"features": features.numpy(), "small": small.numpy()},
    )
    write_case(
        folder,
        model=model_name,
        file="generator.onnx",
        reference=reference,
        inputs={
            "features": generator_features,
            "small": generator_small,
            "source_value": source_points.value.numpy(),
            "source_jacobian": source_points.jacobian.numpy(),
            "driving_value": driven.value.numpy(),
            "driving_jacobian": driven.jacobian.numpy(),
        },
        outputs={"prediction": prediction.numpy()},
    )


def golden_fwa(zoo: Path, folder: Path) -> None:
    """Two crops of noise, in the range of normalised pictures."""
    crops = Seeded((2, 3, 224, 224), seed=11, low=-2.0, high=2.0)
    evaluator = ReferenceEvaluator(onnx.load(zoo / "fwa-lite" / "fwa-lite.onnx"))
    (logit,) = evaluator.run(None, {"input": crops.tensor()})
    write_case(
        folder,
        model="fwa-lite",
        file="fwa-lite.onnx",
        reference=f"onnx {onnx.__version__} reference evaluator (numpy)",
        inputs={"input": crops},
        outputs={"logit": np.asarray(logit, np.float32)},
    )


def golden_mediapipe(wheel: Path, zoo: Path, folder: Path) -> None:
    """Noise through the original TFLite files."""
    for index, (name, source) in enumerate(SOURCES.items()):
        low = 0.0 if source.unit else -1.0
        picture = Seeded((1, source.side, source.side, 3), seed=21 + index, low=low, high=1.0)
        outputs = _run_tflite(read_tflite(wheel, name), picture.tensor())
        names = [value.name for value in onnx.load(zoo / name / f"{name}.onnx").graph.output]
        write_case(
            folder,
            model=name,
            file=f"{name}.onnx",
            reference="TFLite interpreter (ai-edge-litert)",
            inputs={"input" if name != "facemesh" else "input_1": picture},
            outputs={key: outputs[key] for key in names},
            tolerance=PIXEL_TOLERANCE,
        )


def _run_tflite(content: bytes, picture: Floats) -> Mapping[str, Floats]:
    from ai_edge_litert.interpreter import Interpreter

    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        file.write(content)
        file.flush()
        interpreter = Interpreter(model_path=file.name)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture)
        interpreter.invoke()
        details = interpreter.get_output_details()
        return {detail["name"]: interpreter.get_tensor(detail["index"]).copy() for detail in details}
