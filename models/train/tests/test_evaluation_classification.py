"""Measures of classifiers against closed forms and counting by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from deepfake_train.evaluation import classification as of
from deepfake_train.evaluation.tables import number, table, write_results


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, np.float64)


def test_auc_counts_pairs_and_ties_half() -> None:
    real, fake = values(0.1, 0.4, 0.4, 0.8), values(0.4, 0.9, 0.2)
    pairs = [(f > r) + 0.5 * (f == r) for f in fake for r in real]
    assert of.auc(real, fake) == pytest.approx(np.mean(pairs))
    assert of.auc(real, real) == pytest.approx(0.5)
    assert of.auc(values(0.5, 0.5), values(0.5)) == pytest.approx(0.5)


def test_auc_of_two_uniform_distributions_is_the_closed_form() -> None:
    """Real uniform on 0..1, fake on d..1+d: the AUC is 1 - (1 - d)^2 / 2."""
    grid, shift = np.linspace(0, 1, 2001), 0.3
    assert of.auc(grid, grid + shift) == pytest.approx(1 - (1 - shift) ** 2 / 2, abs=1e-3)
    assert of.equal_error_rate(grid, grid + shift) == pytest.approx((1 - shift) / 2, abs=1e-3)
    assert of.recall_at(grid, grid + shift, 0.05) == pytest.approx(0.05 + shift, abs=1e-3)


def test_perfect_and_inverted_scores() -> None:
    low, high = values(0.1, 0.2), values(0.8, 0.9, 0.9)
    assert of.summary(low, high) == pytest.approx(
        {"real": 2, "fake": 3, "auc": 1, "eer": 0, "ap": 1, "recall_at_1": 1, "recall_at_5": 1}
    )
    assert of.auc(high, low) == 0
    assert of.equal_error_rate(high, low) == 1
    assert of.summary(low, values()) == {}


def test_average_precision_of_a_ranking() -> None:
    """In falling order: fake, real, fake, real, fake: (1/1 + 2/3 + 3/5) / 3."""
    real, fake = values(0.8, 0.4), values(0.9, 0.6, 0.2)
    assert of.average_precision(real, fake) == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert of.average_precision(values(0.5, 0.5), values(0.5, 0.5)) == pytest.approx(0.5)


def test_recall_counts_only_thresholds_that_keep_the_promise() -> None:
    real, fake = np.arange(100) / 100, values(0.995, 0.985, 0.975, 0.5)
    assert of.recall_at(real, fake, 0.01) == pytest.approx(0.5)  # one real one of 100 lies above 0.985
    assert of.recall_at(real, fake, 0.0) == pytest.approx(0.25)


def test_calibration_error() -> None:
    honest = of.calibration(values(*[0.25] * 3, 0.75), values(0.25, *[0.75] * 3), bins=2)
    assert honest.error == pytest.approx(0)
    assert of.calibration(values(0.9), values(0.9), bins=10).error == pytest.approx(0.4)
    both = of.calibration(values(0.0), values(1.0, 1.0, 1.0, 0.0), bins=4)  # classes weigh the same
    assert both.weight == pytest.approx([0.625, 0.375])
    assert both.error == pytest.approx(0.125)


def test_rate_above() -> None:
    assert of.rate_above(values(0.1, 0.5, 0.7, 0.9), 0.5) == 0.75


def test_tables() -> None:
    assert table(["", "a"], [["x", number(0.12345)], ["y", number(None)]]).splitlines() == [
        "|  | a |",
        "| --- | ---: |",
        "| x | 0.123 |",
        "| y |  |",
    ]
    with pytest.raises(ValueError, match="as long as"):
        table(["a"], [["1", "2"]])


def test_results_are_plain_json(tmp_path: Path) -> None:
    write_results({"a": (1.00000049, float("nan")), "b": {"c": "d"}}, tmp_path / "results.json")
    assert json.loads((tmp_path / "results.json").read_text()) == {"a": [1.0, None], "b": {"c": "d"}}
