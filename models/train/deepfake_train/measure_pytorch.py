"""Time that the motion model takes in PyTorch, to compare the plugin with on the same machine."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch

from .fomm import PRESETS, Fomm
from .random_fomm import random_fomm

WARM_UP, CALLS = 20, 100


def pytorch_latencies(preset: str, device: str) -> Iterator[tuple[str, float]]:
    """(what, median milliseconds a frame) for the ways in which the model is usually run."""
    model = random_fomm(PRESETS[preset], seed=1)
    model.keypoint_detector.to(device)
    model.generator.to(device)
    torch.backends.cudnn.benchmark = True
    # on a CPU, float16 came with PyTorch 2 only, and gains nothing
    reduced = torch.float16 if device == "cuda" else torch.bfloat16
    name = str(reduced).removeprefix("torch.")
    for what, tf32, half, once in (
        ("float32, source encoded every frame as the published code does", False, False, False),
        ("TF32, channels last, source encoded every frame", True, False, False),
        (f"{name} autocast, channels last, source encoded once", True, True, True),
    ):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        if tf32:
            model.keypoint_detector.to(memory_format=torch.channels_last)
            model.generator.to(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device, reduced) if half else nullcontext():
            yield what, _median(_frame(model, device, once=once), device)


def _frame(model: Fomm, device: str, *, once: bool) -> Callable[[], None]:
    """A function that makes one picture; driving pictures alternate, so that no cache holds them all."""
    pictures = torch.rand(9, 1, 3, 256, 256, device=device)
    source, driving = pictures[0], itertools.cycle(pictures[1:])
    points = model.keypoint_detector(source)
    encoded = model.generator.encode(source)

    def call() -> None:
        driven = model.keypoint_detector(next(driving))
        model.generator.decode(*(encoded if once else model.generator.encode(source)), points, driven)

    return call


def _median(call: Callable[[], None], device: str) -> float:
    on_gpu = device == "cuda"
    warm_up, calls = (WARM_UP, CALLS) if on_gpu else (1, 3)
    for _ in range(warm_up):
        call()
    took = []
    for _ in range(calls):
        if on_gpu:
            # each frame waited for: the delay of one, not the rate of many
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            took.append(start.elapsed_time(end))
        else:
            begin = time.perf_counter()
            call()
            took.append((time.perf_counter() - begin) * 1e3)
    return sorted(took)[len(took) // 2]
