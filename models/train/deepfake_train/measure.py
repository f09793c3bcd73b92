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


def latencies(
    models: Mapping[str, Path | bytes],
    inputs: Mapping[str, Floats],
    *,
    threads: int = 2,
    seconds: float = 5.0,
) -> dict[str, Latency]:
    """Calls the models in turn, so that whatever else the machine does befalls all of them alike.

    On a shared machine the fastest call says more than the median.
    """
    sessions = {name: session(model, threads) for name, model in models.items()}
    took: dict[str, list[float]] = {name: [] for name in models}
    end = time.perf_counter() + seconds * len(models)
    while time.perf_counter() < end:
        for name, running in sessions.items():
            running.run(None, dict(inputs))  # brings its weights into the caches
            start = time.perf_counter()
            running.run(None, dict(inputs))
            took[name].append((time.perf_counter() - start) * 1e3)
    return {name: Latency(float(np.median(calls)), min(calls)) for name, calls in took.items()}


def golden_inputs(golden: Path, model: str, graph: str) -> Mapping[str, Floats]:
    """Inputs to measure a graph of the zoo with."""
    return read_case(golden / model / f"{graph}.toml").inputs
