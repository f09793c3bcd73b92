"""The loop of every training here: steps, a folder to go on from, losses, samples, a progress bar.

A run folder holds ``checkpoint.pt`` (all state, of plain data alone), ``settings.json``, ``losses.csv``,
``losses.png`` and ``samples/STEP.png``; and, once a call came to its end, the weights and ``weights.json``.

Going on is exact because nothing random outlives a step: all that a step draws comes from the seed of the run
and the number of the step (`step_seed`), and the learning rate is a function of the step. So a run that was
stopped ten times ends with the very bits of one that was not, on the same machine with as many threads.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ..stored_tensors import read_tensors
from .curves import plot_losses

CHECKPOINT, SETTINGS, LOSSES, CURVES = "checkpoint.pt", "settings.json", "losses.csv", "losses.png"
WEIGHTS_STEPS = "weights.json"
"""How many steps the weights in the folder have; the checkpoint may have gone on since."""


class Training(Protocol):
    """What is trained: its step, its state, and something to look at."""

    def step(self, number: int, learning_rate: float) -> dict[str, float]:
        """One step of the optimiser, counted from 0; the losses by name, ``total`` among them."""

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimiser and averages; tensors, numbers, strings, lists and dicts alone."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from a ``state_dict``."""

    def samples(self) -> NDArray[np.uint8]:
        """A sheet of what the averaged weights do with fixed, held-out input: BGR bytes."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    The rate rises over ``warm_up`` steps to ``rate`` and falls along a cosine to ``last_rate`` at ``steps``.
    ``minutes`` ends this call early, to be gone on from by another; the schedule does not depend on it.
    """

    steps: int
    rate: float
    last_rate: float = 0.0
    warm_up: int = 0
    minutes: float = math.inf
    log_every: int = 10
    save_every: int = 200
    sample_every: int = 500

    def learning_rate(self, step: int) -> float:
        """The rate of a step, counted from 0."""
        if step < self.warm_up:
            return self.rate * (step + 1) / self.warm_up
        progress = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        return self.last_rate + (self.rate - self.last_rate) * 0.5 * (
            1 + math.cos(math.pi * min(1.0, progress))
        )


class LossNotFiniteError(RuntimeError):
    """A loss became infinite or not a number: the weights of that step are not saved."""


class RunMismatchError(ValueError):
    """A run folder was begun with other settings."""


class StoppedError(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a run; what it had learned is in its checkpoint."""


@dataclass
class _Sums:
    """What was lost since the last row of the table: of each loss, and in how many steps."""

    losses: dict[str, float] = field(default_factory=dict)
    steps: int = 0

    def add(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.losses[name] = self.losses.get(name, 0.0) + value
        self.steps += 1

    def means(self) -> dict[str, float]:
        """Of what was added, which is forgotten."""
        means = {name: value / self.steps for name, value in self.losses.items()}
        self.losses, self.steps = {}, 0
        return means


def step_seed(seed: int, step: int, purpose: str = "") -> int:
    """A seed of 63 bits for what one step draws, different for every run, step and purpose."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def run(training: Training, folder: Path, schedule: Schedule, settings: Mapping[str, Any]) -> int:
    """Trains in ``folder``, going on from what lies there; the number of steps done in all.

    ``settings`` is what makes the run what it is (seed, data, widths, weights of the losses), as plain data.
    It is kept in the folder, and one that was begun with other settings is refused (``RunMismatchError``).
    Raises ``LossNotFiniteError`` if a loss is not finite, the last checkpoint stays; and ``StoppedError``
    where Ctrl-C or SIGTERM asks it to end, after the step that it was in. A second one ends it at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _agree(folder / SETTINGS, settings)
    step, sums = _restore(training, folder / CHECKPOINT)
    # what was logged after the checkpoint will be logged again
    losses = _Losses(folder / LOSSES, upto=step)
    ends = time.monotonic() + schedule.minutes * 60
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        _asked_to_stop() as stop,
        Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress,
    ):
        bar = progress.add_task("training", total=schedule.steps, completed=step)
        while step < schedule.steps and time.monotonic() < ends and not stop.is_set():
            rate = schedule.learning_rate(step)
            values = training.step(step, rate)
            if not all(math.isfinite(value) for value in values.values()):
                plot_losses(folder / LOSSES, folder / CURVES)
                raise LossNotFiniteError(f"step {step}: {values}")
            step += 1
            sums.add(values)
            progress.update(bar, completed=step, description=f"loss {values['total']:.4f}")
            if step % schedule.log_every == 0:
                losses.add(step, rate, sums.means())
            if step % schedule.save_every == 0:
                _save(training, step, sums, folder / CHECKPOINT)
            if step % schedule.sample_every == 0:
                _show(training, folder, step)
        _save(training, step, sums, folder / CHECKPOINT)
        if stop.is_set():
            plot_losses(folder / LOSSES, folder / CURVES)
            raise StoppedError(
                f"stopped at step {step} of {schedule.steps}; the same command goes on from there, and with "
                "--minutes 0 it writes the weights as they are"
            )
    _show(training, folder, step)
    return step


def note_weights(folder: Path, step: int) -> None:
    """Says how many steps the weights have that were just written into a run folder."""
    (folder / WEIGHTS_STEPS).write_text(json.dumps({"steps": step}), encoding="utf-8")


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Is set by the first Ctrl-C or SIGTERM; the second does what it did before."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        # no other thread may handle signals
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            # none that Python knows of: it was set by a library in C, and cannot be put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def ask(_number: int, _frame: FrameType | None) -> None:
        restore()
        asked.set()

    for number in before:
        signal.signal(number, ask)
    try:
        yield asked
    finally:
        restore()


def _agree(path: Path, settings: Mapping[str, Any]) -> None:
    text = json.dumps(settings, indent=2, sort_keys=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise RunMismatchError(
            f"{path.parent} was begun with other settings: compare {path} with\n{text}\n"
            "and take another folder, or go on with the same ones"
        )
    path.write_text(text, encoding="utf-8")


def _restore(training: Training, path: Path) -> tuple[int, _Sums]:
    if not path.exists():
        return 0, _Sums()
    state = read_tensors(path)
    training.load_state_dict(state["training"])
    # a checkpoint of before this was kept begins a row of the table anew
    sums = state.get("sums", {"losses": {}, "steps": 0})
    return int(state["step"]), _Sums(dict(sums["losses"]), int(sums["steps"]))


def _save(training: Training, step: int, sums: _Sums, path: Path) -> None:
    # written beside and renamed: a run that is killed meanwhile keeps the checkpoint before
    beside = path.with_suffix(".part")
    since = {"losses": sums.losses, "steps": sums.steps}
    torch.save({"step": step, "sums": since, "training": training.state_dict()}, beside)
    beside.replace(path)


def _show(training: Training, folder: Path, step: int) -> None:
    """What it does by now, and how the losses went so far."""
    plot_losses(folder / LOSSES, folder / CURVES)
    path = folder / "samples" / f"{step:07}.png"
    path.parent.mkdir(exist_ok=True)
    if not cv2.imwrite(str(path), training.samples()):
        raise OSError(f"cannot write {path}")


class _Losses:
    """The table of losses, a row every so many steps."""

    def __init__(self, path: Path, *, upto: int) -> None:
        self._path = path
        rows: list[list[str]] = []
        if path.exists():
            with path.open(encoding="utf-8", newline="") as file:
                rows = [
                    row for index, row in enumerate(csv.reader(file)) if index == 0 or int(row[0]) <= upto
                ]
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
        self._columns = rows[0] if rows else None

    def add(self, step: int, rate: float, values: Mapping[str, float]) -> None:
        with self._path.open("a", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if self._columns is None:
                self._columns = ["step", "learning rate", *values]
                writer.writerow(self._columns)
            row = {"step": step, "learning rate": f"{rate:.3g}"} | {k: f"{v:.6g}" for k, v in values.items()}
            writer.writerow([row.get(column, "") for column in self._columns])
