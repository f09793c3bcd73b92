"""Curves for the model cards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from .classification import Calibration, Roc, Scores

INCHES = (5.0, 4.4)
LEAST_FALSE_POSITIVES = 2e-3


def plot_roc(curves: Mapping[str, Roc], title: str, path: Path) -> None:
    """One curve a family; false positives logarithmic, as it is the few that matter."""
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot()
    for name, curve in curves.items():
        visible = curve.false_positives.clip(min=LEAST_FALSE_POSITIVES)
        axes.plot(visible, curve.true_positives, label=f"{name}, AUC {_area(curve):.3f}")
    axes.set(
        xscale="log",
        xlim=(LEAST_FALSE_POSITIVES, 1),
        ylim=(0, 1.005),
        xlabel="real pictures called fake",
        ylabel="fakes found",
        title=title,
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(str(path), dpi=110)


def plot_reliability(calibrations: Mapping[str, Calibration], title: str, path: Path) -> None:
    """Part of fakes over score; on the diagonal a score is a probability."""
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for name, of in calibrations.items():
        axes.plot(of.score, of.fakes, marker="o", markersize=3, label=f"{name}, error {of.error:.3f}")
    axes.set(
        xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="part that is fake, if half of all are", title=title
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left")
    figure.savefig(str(path), dpi=110)


def _area(curve: Roc) -> float:
    steps: Scores = curve.false_positives[1:] - curve.false_positives[:-1]
    return float((steps * (curve.true_positives[1:] + curve.true_positives[:-1]) / 2).sum())
