"""How well scores tell two classes apart. Scores are 0..1, high for fake; labels are true for fake."""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]

CALIBRATION_BINS = 15


class Roc(NamedTuple):
    """The curve's corners from (0, 0) to (1, 1); equal scores make one slanted step."""

    false_positives: Scores
    true_positives: Scores
    thresholds: Scores


class Calibration(NamedTuple):
    """Of each bin of scores that is not empty: mean score, part that is fake, weight (1 in all)."""

    score: Scores
    fakes: Scores
    weight: Scores

    @property
    def error(self) -> float:
        """Expected calibration error: mean distance of score and part."""
        return float((np.abs(self.score - self.fakes) * self.weight).sum())


def roc(real: Scores, fake: Scores) -> Roc:
    """A score at or above a threshold counts as called fake; the first threshold is above all scores."""
    scores = np.concatenate((real, fake)).astype(np.float64)
    labels = np.concatenate((np.zeros(len(real)), np.ones(len(fake))))
    order = np.argsort(-scores, kind="stable")
    scores, labels = scores[order], labels[order]
    ends = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    hits = np.cumsum(labels)[ends]
    return Roc(
        np.append(0.0, (ends + 1 - hits) / len(real)),
        np.append(0.0, hits / len(fake)),
        np.append(np.inf, scores[ends]),
    )


def auc(real: Scores, fake: Scores) -> float:
    """How likely a fake scores above a real one; a tie counts half."""
    curve = roc(real, fake)
    heights = (curve.true_positives[1:] + curve.true_positives[:-1]) / 2
    return float((np.diff(curve.false_positives) * heights).sum())


def equal_error_rate(real: Scores, fake: Scores) -> float:
    """Where as large a part of the real ones is called fake as of the fakes is missed."""
    curve = roc(real, fake)
    excess = curve.false_positives - (1 - curve.true_positives)  # grows from -1 to 1
    after = int(np.argmax(excess >= 0))
    before = after - 1
    part = -excess[before] / (excess[after] - excess[before])
    low, high = curve.false_positives[before], curve.false_positives[after]
    return float(low + part * (high - low))


def average_precision(real: Scores, fake: Scores) -> float:
    """Precision at every threshold, weighted by the recall won there; the numbers of both matter."""
    curve = roc(real, fake)
    hits, mistakes = curve.true_positives[1:] * len(fake), curve.false_positives[1:] * len(real)
    return float((np.diff(curve.true_positives) * hits / (hits + mistakes)).sum())


def recall_at(real: Scores, fake: Scores, false_positives: float) -> float:
    """Largest part of the fakes that is found where at most that part of the real ones is called fake."""
    curve = roc(real, fake)
    return float(curve.true_positives[curve.false_positives <= false_positives + 1e-12].max())


def calibration(real: Scores, fake: Scores, bins: int = CALIBRATION_BINS) -> Calibration:
    """Bins of equal width; both classes weigh the same, as if half of all were fakes."""
    scores = np.concatenate((real, fake))
    weights = np.concatenate((np.full(len(real), 0.5 / len(real)), np.full(len(fake), 0.5 / len(fake))))
    labels = np.concatenate((np.zeros(len(real)), np.ones(len(fake))))
    index = np.clip((scores * bins).astype(int), 0, bins - 1)
    # NumPy's stubs tell of the whole numbers that it counts without weights
    weight = cast(Scores, np.bincount(index, weights, bins))
    used = weight > 0
    mean = np.bincount(index, weights * scores, bins)[used] / weight[used]
    fakes = np.bincount(index, weights * labels, bins)[used] / weight[used]
    return Calibration(mean, fakes, weight[used])


def summary(real: Scores, fake: Scores) -> dict[str, float]:
    """All of it; classes that are empty give nothing."""
    if not len(real) or not len(fake):
        return {}
    return {
        "real": len(real),
        "fake": len(fake),
        "auc": auc(real, fake),
        "eer": equal_error_rate(real, fake),
        "ap": average_precision(real, fake),
        "recall_at_1": recall_at(real, fake, 0.01),
        "recall_at_5": recall_at(real, fake, 0.05),
    }


def rate_above(scores: Scores, threshold: float) -> float:
    """The part of the scores at or above the threshold."""
    return float((scores >= threshold).mean()) if len(scores) else float("nan")
