"""Fakes made on the way, a module a family, and what pictures go through before and after.

A picture is taken (`camera.shoot`), manipulated or not (`make`), cut out as the detector does (`crop`), and
degraded on its way there (`degrade`). Only the second step knows the class: all else is drawn for both alike,
so that nothing but the manipulation tells them apart. Pictures are [H, W, 3] BGR bytes, points those of
FaceMesh in pixels, [468, 2] or with depth [468, 3].
"""

from __future__ import annotations

import numpy as np

from . import fwa, reposed, self_blended, swap
from .camera import shoot
from .degradations import MILD, crop, degrade
from .geometry import Picture, Points
from .pack import Face, Pack

TRAINED = {"fwa": fwa.make, "self_blended": self_blended.make, "reposed": reposed.make}
"""The families that are made from one picture and trained on."""

FAMILIES = (*TRAINED, "swap")
"""All that `make` knows; ``swap`` is for evaluation alone. What our own animator makes is in `reenacted`."""

__all__ = ["FAMILIES", "MILD", "TRAINED", "Face", "Pack", "crop", "degrade", "make", "shoot"]


def make(
    family: str, rng: np.random.Generator, picture: Picture, points: Points, donor: Face | None = None
) -> Picture:
    """A fake of that family from a real picture; ``swap`` takes the face of ``donor``."""
    if family in TRAINED:
        return TRAINED[family](rng, picture, points)
    if family != "swap":
        raise ValueError(f"no family '{family}': {', '.join(FAMILIES)}")
    if donor is None:
        raise ValueError("a swap needs a donor")
    return swap.make(rng, picture, points, donor.picture, donor.points)
