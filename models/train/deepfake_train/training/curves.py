"""The curve of every loss in a table of a run, as one picture."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure


def plot_losses(table: Path, picture: Path) -> None:
    """Draws each column of ``losses.csv`` over its steps, each in its panel; nothing if it has no rows."""
    if not table.exists():
        return
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return
    steps = [int(row["step"]) for row in rows]
    names = [name for name in rows[0] if name != "step"]
    # without pyplot, which keeps figures and may want a screen
    figure = Figure(figsize=(4 * min(3, len(names)), 2.6 * -(-len(names) // 3)), layout="constrained")
    for index, name in enumerate(names):
        axes = figure.add_subplot(-(-len(names) // 3), min(3, len(names)), index + 1)
        axes.plot(steps, [float(row[name]) if row[name] else float("nan") for row in rows], linewidth=1)
        axes.set_title(name, fontsize="small")
        axes.grid(alpha=0.3)
    figure.savefig(picture, dpi=100)
