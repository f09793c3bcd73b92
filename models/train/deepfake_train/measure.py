"""Time a frame takes in ONNX Runtime on the CPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from .golden import Floats, read_case


class Latency(NamedTuple):
    """Milliseconds a call."""

    median: float
    fastest: float


def session(model: Path | bytes, threads: int) -> onnxruntime.InferenceSession:
    """A CPU session with a fixed number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    content = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def latency(
    model: Path | bytes, inputs: Mapping[str, Floats], *, threads: int = 2, seconds: float = 5.0
) -> Latency:
    """Calls the model for some seconds after a warm-up."""
    running = session(model, threads)
    for _ in range(3):
        running.run(None, dict(inputs))
    took, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        running.run(None, dict(inputs))
        took.append((time.perf_counter() - start) * 1e3)
    return Latency(float(np.median(took)), min(took))


def golden_inputs(golden: Path, model: str, graph: str) -> Mapping[str, Floats]:
    """Inputs to measure a graph of the zoo with."""
    return read_case(golden / model / f"{graph}.toml").inputs
