"""Makes the golden data of the zoo: every graph's outputs as a second implementation computes them.

FOMM: our PyTorch model. MediaPipe: the TFLite interpreter on the original files. FWA: the numpy operators
that the ONNX project gives as the definition of its format. None of them shares code with ONNX Runtime.

X2Face is tested with random weights, so that no test waits for trained ones: model and golden data lie beside
the Rust tests, which make the pictures themselves.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from .checkpoint import load_fomm
from .convert_mediapipe import SOURCES, read_tflite
from .convert_x2face import write_random_x2face
from .fomm import Keypoints
from .golden import Floats, Seeded, write_case
from .onnx_graph import GraphWriter
from .random_x2face import random_x2face
from .x2face import PRESETS, SIZE

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


X2FACE_PRESET, X2FACE_SEED = "smallest", 1
X2FACE_STRIDE = 29  # of the values that are kept


def wave_picture(number: int) -> NDArray[np.uint8]:
    """Picture of a number, [3, 256, 256], in integers so that Rust makes the very same.

    Waves of straight lines, black towards the edges: noise, or an edge to what lies beyond, would show how
    coordinates were rounded, a hundred times enlarged.
    """
    y, x = np.mgrid[:SIZE, :SIZE]
    edge = np.minimum(np.minimum(x, SIZE - 1 - x), np.minimum(y, SIZE - 1 - y)).clip(max=24)

    def wave(phase: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.abs(phase % 512 - 256)

    planes = []
    for channel in range(3):
        rising = wave((2 + number) * x + (3 - channel) * y + 70 * channel + 90 * number)
        falling = wave((1 + channel) * x - (1 + number) * y + 1024)
        planes.append(((rising + falling) // 2).clip(max=255) * edge // 24)
    return np.stack(planes).astype(np.uint8)


def x2face_results() -> dict[str, Floats]:
    """What PyTorch makes of the pictures 0 and 1 of a portrait, driven by picture 2."""
    model = random_x2face(PRESETS[X2FACE_PRESET], X2FACE_SEED)
    pictures = torch.from_numpy(np.stack([wave_picture(number) for number in range(3)])).float() / 255
    with torch.inference_mode():
        embedded = model.embed(pictures[:2])
        prediction = model.render(embedded, pictures[2:])
    return {"embedded": embedded.numpy(), "prediction": prediction.numpy()}


def driver_that_shows() -> onnx.ModelProto:
    """A driving network as it must not be: its picture is a mixture of the embedded face and the driver."""
    graph = GraphWriter("x2face driver that shows the driver")
    shape = [1, 3, SIZE, SIZE]
    embedded, driving = (graph.input(name, shape) for name in ("embedded", "driving"))
    half = graph.constant(0.5)
    mixture = graph.op("Mul", graph.op("Add", embedded, driving), half)
    graph.output(mixture, "prediction", shape)
    return graph.model()


def golden_x2face(out: Path) -> None:
    """Writes the model of the Rust tests, and every so many of the values that PyTorch gives."""
    config = PRESETS[X2FACE_PRESET]
    write_random_x2face(out, config=config, seed=X2FACE_SEED, preset=X2FACE_PRESET)
    onnx.save(driver_that_shows(), out / "driver-that-shows.onnx")
    for name, values in x2face_results().items():
        (out / f"{name}.bin").write_bytes(values.reshape(-1)[::X2FACE_STRIDE].astype("<f4").tobytes())


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
