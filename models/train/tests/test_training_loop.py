"""The loop: exact resumption, refused folders, losses that are not finite."""

from __future__ import annotations

import csv
import math
import signal
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
for package in ("cv2", "matplotlib", "rich"):
    pytest.importorskip(package, reason="only in the training environment (requirements.txt)")

from deepfake_train.stored_tensors import read_tensors  # noqa: E402
from deepfake_train.training.averaging import AveragedWeights  # noqa: E402
from deepfake_train.training.loop import (  # noqa: E402
    LossNotFiniteError,
    RunMismatchError,
    Schedule,
    StoppedError,
    run,
    step_seed,
)


class Line:
    """Learns y = 2x + 1 from random points."""

    def __init__(
        self,
        *,
        breaks_at: int = -1,
        asked_at: int = -1,
        number: signal.Signals = signal.SIGINT,
        times: int = 1,
    ) -> None:
        torch.manual_seed(0)
        self.network = torch.nn.Linear(1, 1)
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.average = AveragedWeights(self.network, 0.9)
        self.breaks_at, self.asked_at = breaks_at, asked_at
        self.asked = [number] * times

    def step(self, number: int, learning_rate: float) -> dict[str, float]:
        if number == self.asked_at:
            for asked in self.asked:
                signal.raise_signal(asked)
        generator = torch.Generator().manual_seed(step_seed(7, number))
        x = torch.rand(16, 1, generator=generator)
        loss = (self.network(x) - 2 * x - 1).square().mean()
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.average.update()
        value = math.nan if number == self.breaks_at else loss.item()
        return {"total": value, "square": value}

    def state_dict(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "average": self.average}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])

    def samples(self) -> NDArray[np.uint8]:
        return np.zeros((4, 4, 3), np.uint8)


SETTINGS = {"seed": 7}


def schedule(steps: int = 40, **changes: Any) -> Schedule:  # noqa: ANN401 - any field
    return Schedule(steps, rate=0.05, warm_up=5, log_every=5, save_every=10, **changes)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "losses.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_loss_falls_and_the_folder_shows_it(tmp_path: Path) -> None:
    assert run(Line(), tmp_path, schedule(200), SETTINGS) == 200
    losses = [float(row["total"]) for row in rows(tmp_path)]
    assert len(losses) == 40
    assert losses[-1] < losses[0] / 10
    assert (tmp_path / "losses.png").stat().st_size > 1000
    assert (tmp_path / "samples" / "0000200.png").exists()


def test_a_run_that_was_interrupted_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = Line()
    run(whole, tmp_path / "whole", schedule(), SETTINGS)

    # killed in step 27: steps after the checkpoint at 20 are lost, and what was logged of them with it
    with pytest.raises(LossNotFiniteError, match="step 27"):
        run(Line(breaks_at=27), tmp_path / "broken", schedule(), SETTINGS)
    resumed = Line()
    assert run(resumed, tmp_path / "broken", schedule(), SETTINGS) == 40

    for one, other in (
        (whole.network.state_dict(), resumed.network.state_dict()),
        (whole.average.weights(), resumed.average.weights()),
    ):
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert rows(tmp_path / "whole") == rows(tmp_path / "broken")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_asked_to_stop_ends_the_step_and_goes_on_to_the_same_bits(
    tmp_path: Path, number: signal.Signals
) -> None:
    whole = Line()
    run(whole, tmp_path / "whole", schedule(), SETTINGS)
    before = signal.getsignal(number)
    # in the middle of a row of the table, between two checkpoints
    with pytest.raises(StoppedError, match="stopped at step 28 of 40; the same command goes on"):
        run(Line(asked_at=27, number=number), tmp_path / "stopped", schedule(), SETTINGS)
    assert signal.getsignal(number) is before
    assert (tmp_path / "stopped" / "losses.png").exists()
    resumed = Line()
    assert run(resumed, tmp_path / "stopped", schedule(), SETTINGS) == 40
    bits, found = (line.network.state_dict() for line in (whole, resumed))
    assert all(torch.equal(bits[key], found[key]) for key in bits)
    assert rows(tmp_path / "whole") == rows(tmp_path / "stopped")


def test_who_is_asked_twice_stops_at_once(tmp_path: Path) -> None:
    # where the tests run in the background of a shell, Ctrl-C is ignored, and then so is the second one
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt) as raised:
            run(Line(asked_at=27, times=2), tmp_path, schedule(), SETTINGS)
    finally:
        signal.signal(signal.SIGINT, before)
    assert raised.type is KeyboardInterrupt
    assert read_tensors(tmp_path / "checkpoint.pt")["step"] == 20


def test_what_is_asked_of_a_thread_is_left_to_the_program(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(run, Line(), tmp_path, schedule(), SETTINGS).result() == 40


def test_minutes_stop_early_and_the_next_call_goes_on(tmp_path: Path) -> None:
    assert run(Line(), tmp_path, schedule(minutes=0), SETTINGS) == 0
    assert run(Line(), tmp_path, schedule(), SETTINGS) == 40
    assert run(Line(), tmp_path, schedule(), SETTINGS) == 40


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    run(Line(), tmp_path, schedule(), SETTINGS)
    with pytest.raises(RunMismatchError, match="other settings"):
        run(Line(), tmp_path, schedule(), {"seed": 8})


def test_seeds_differ_by_run_step_and_purpose() -> None:
    seeds = {step_seed(s, k, p) for s in (1, 2) for k in (0, 1) for p in ("", "warp")}
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_rate_rises_and_falls() -> None:
    plan = Schedule(100, rate=1.0, last_rate=0.1, warm_up=10)
    assert plan.learning_rate(0) == pytest.approx(0.1)
    assert plan.learning_rate(9) == pytest.approx(1.0)
    assert plan.learning_rate(55) == pytest.approx(0.55)
    assert plan.learning_rate(100) == pytest.approx(0.1)
