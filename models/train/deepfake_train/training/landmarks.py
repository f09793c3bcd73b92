"""Which of the 468 FaceMesh points are what. Left and right are those of the picture."""

from __future__ import annotations

POINTS = 468

INNER_LIP_UPPER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
"""From the left corner of the mouth to the right one, both included."""
INNER_LIP_LOWER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
OUTER_LIP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
MOUTH = tuple(sorted({*INNER_LIP_UPPER, *INNER_LIP_LOWER, *OUTER_LIP}))

UPPER_LIDS = ((246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398))
"""The left and the right eye, without the corners; each point is above its like in ``LOWER_LIDS``."""
LOWER_LIDS = ((7, 163, 144, 145, 153, 154, 155), (249, 390, 373, 374, 380, 381, 382))
EYE_CORNERS = ((33, 133), (263, 362))
EYES = tuple(
    (*corners, *upper, *lower)
    for corners, upper, lower in zip(EYE_CORNERS, UPPER_LIDS, LOWER_LIDS, strict=True)
)

LIP_GAPS = tuple(zip(INNER_LIP_UPPER[1:-1], INNER_LIP_LOWER[1:-1], strict=True))
"""Points of the lips that part from each other."""
LID_GAPS = tuple(
    (above, below)
    for upper, lower in zip(UPPER_LIDS, LOWER_LIDS, strict=True)
    for above, below in zip(upper, lower, strict=True)
)

TURN_GAPS = ((33, 1), (263, 1), (10, 1), (152, 1))
"""Points between which much changes where a head turns: the tip of the nose, which stands out, and the outer
corners of the eyes, the top of the forehead and the chin."""

OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
"""The outline of the face, clockwise from the top."""

SKIN = (50, 280, 4, 9)
"""Both cheeks, the tip of the nose, the forehead: where to measure how brightly a face is lit."""
