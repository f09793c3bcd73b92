"""From the folder of a run to a folder that the elements take as a model."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from .clips import CROP_SCALE
from .loop import LOSSES, WEIGHTS_STEPS

FOMM, X2FACE, FWA, FWA_REPORT = "fomm-fp16.pt", "x2face.pth", "fwa-lite.onnx", "held-out.json"
UNKNOWN_LICENCE = "LicenseRef-own-training"


class NoWeightsError(ValueError):
    """A folder that holds nothing that training wrote."""


def export(
    run: Path, out: Path, *, licence: str | None = None, origin: str | None = None, compact: bool = False
) -> str:
    """Writes the averaged weights of ``run`` to ``out``; the kind of model that it is.

    ``compact``, for X2Face alone, stores weights in half precision. Raises ``NoWeightsError`` if a training
    never came to its end there, not even that of ``--minutes``.
    """
    licence = licence or UNKNOWN_LICENCE
    origin = (
        origin or f"Trained with deepfake_train, {_steps(run)} steps, in a run called {run.resolve().name}."
    )
    if (run / FOMM).exists():
        from ..convert_fomm import convert_fomm

        convert_fomm(run / FOMM, out, licence=licence, origin=origin)
        return "fomm"
    if (run / X2FACE).exists():
        from ..convert_x2face import convert_x2face

        convert_x2face(
            run / X2FACE,
            out,
            licence=licence,
            terms=f"SPDX-License-Identifier: {licence}\n\n{origin}\n",
            origin=origin,
            compact=compact,
            crop_scale=CROP_SCALE,
        )
        return "x2face"
    if (run / FWA).exists() and (run / FWA_REPORT).exists():
        from ..convert_fwa import convert_fwa

        report = json.loads((run / FWA_REPORT).read_text(encoding="utf-8"))
        convert_fwa(
            run / FWA,
            out,
            licence=licence,
            origin=origin,
            threshold=report["threshold"],
            uncertain=report["uncertain from"],
        )
        return "fwa"
    raise NoWeightsError(f"{run}: none of {FOMM}, {X2FACE}, {FWA} with {FWA_REPORT}; has train ended there?")


def _steps(run: Path) -> str:
    """How many steps the weights have; of an older run, how many the table of losses tells of."""
    if (run / WEIGHTS_STEPS).exists():
        return str(json.loads((run / WEIGHTS_STEPS).read_text(encoding="utf-8"))["steps"])
    if not (run / LOSSES).exists():
        return "an unknown number of"
    with (run / LOSSES).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return f"at least {rows[-1]['step']}" if rows else "few"
