"""Two views of one portrait: the head turned and the face moved in three dimensions, then the picture warped.

The FaceMesh points move as the points of a solid head with an expression on it; points of hair, neck and
shoulders follow it less and less, the border stays. A smooth warp carries the pixels along. All of it runs
on one device, and the same points are known in both views.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ...fomm import coordinate_grid
from ..landmarks import EYES, INNER_LIP_LOWER, INNER_LIP_UPPER, LOWER_LIDS, OVAL, POINTS, SKIN, UPPER_LIDS
from .expressions import Expression, ExpressionSource, close_lids, still_expression
from .mouth_interior import LOOKS, opened, paint_mouth
from .pairs import Pairs
from .stills import Stills
from .warp import cone_spline

# the pose of a view, relative to the portrait: standard deviations, and what is never exceeded
ANGLES, MOST_ANGLES = (11.0, 7.0, 6.0), (25.0, 15.0, 15.0)  # yaw, pitch, roll in degrees
# yaw and pitch never go far beyond what the portrait shows
REACH = (36.0, 26.0)
SHIFT, MOST_SHIFT = 0.035, 0.085  # of the picture
ZOOM, MOST_ZOOM = 0.045, 0.11
# one window a pair: its middle and its size vary; both views of some pairs, as cameras do, a little more
WINDOW_SHIFT, WINDOW_SIZE = 0.045, 0.08
NEIGHBOURS, NEAR = 0.3, 0.35  # pairs that are like frames soon after each other; how far apart those are
UNTOUCHED = 0.25  # sources that are the portrait itself
PIVOT = (0.0, 4.5, 6.5)  # of the head, in centimetres: about the top of the spine
COLLAR = (1.13, 1.13, 1.6)  # just outside the outline of the face: factors of x and y, and how much deeper
# slack of the warp in pixels: on the face, for points that the head hides, outside the face
FACE_SLACK, HIDDEN_SLACK, LOOSE_SLACK = 0.05, 40.0, 3.0
LEAST_GAP = 0.04  # between lids and between lips in centimetres: they meet, and do not cross
GRID = 96
"""Places along a side where the warp is computed; it is interpolated between them."""

# x, y, z in centimetres in the frame of the head, and how much of the head's motion they take part in
BODY = (
    *((0.0, 11.5, 1.0, 0.75), (-5.0, 11.0, 5.0, 0.6), (5.0, 11.0, 5.0, 0.6), (0.0, 15.0, 4.0, 0.35)),
    *((-5.5, 15.0, 6.0, 0.25), (5.5, 15.0, 6.0, 0.25), (0.0, 19.0, 4.0, 0.1), (-10.0, 16.0, 7.0, 0.1)),
    *((10.0, 16.0, 7.0, 0.1), (-14.0, 18.0, 8.0, 0.04), (14.0, 18.0, 8.0, 0.04)),
    *((-10.0, 8.0, 6.0, 0.55), (10.0, 8.0, 6.0, 0.55), (-13.5, 9.0, 7.0, 0.2), (13.5, 9.0, 7.0, 0.2)),
)
SKULL = ((1.0, 1.0), (1.22, 0.8), (1.5, 0.35), (1.9, 0.08))  # size of a ring about the head, and the same


def _followers() -> list[tuple[float, float, float, float]]:
    rings = [
        (
            9.3 * size * math.cos(math.radians(angle)),
            -2.5 - 11.5 * size * math.sin(math.radians(angle)),
            4.5,
            share,
        )
        for size, share in SKULL
        for angle in range(-28, 209, 14)
    ]
    return [*rings, *BODY]


def rotation(angles: Tensor) -> Tensor:
    """Rotation matrices [M, 3, 3] for yaw, pitch, roll [M, 3] in radians: first yaw, about y, roll last."""
    (yaw, pitch, roll), one = angles.unbind(-1), torch.ones_like(angles[..., 0])
    zero = torch.zeros_like(one)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).reshape(*one.shape, 3, 3)

    about_y = matrix(yaw.cos(), zero, yaw.sin(), zero, one, zero, -yaw.sin(), zero, yaw.cos())
    about_x = matrix(one, zero, zero, zero, pitch.cos(), -pitch.sin(), zero, pitch.sin(), pitch.cos())
    about_z = matrix(roll.cos(), -roll.sin(), zero, roll.sin(), roll.cos(), zero, zero, zero, one)
    return about_z @ about_x @ about_y


class View(NamedTuple):
    """How M portraits are shown: ``angles`` [M, 3] in radians, ``shift`` [M, 2] in pixels of the portrait,
    ``zoom`` [M] of the head, the expression, and the window: middle [M, 2] and side [M] in pixels."""

    angles: Tensor
    shift: Tensor
    zoom: Tensor
    expression: Expression
    middle: Tensor
    side: Tensor


class PairSynthesis:
    """Pairs out of portraits, made on the device where they lie."""

    def __init__(self, stills: Stills, expressions: ExpressionSource, size: int, grid: int = GRID) -> None:
        self.stills, self.expressions, self.size, self.grid = stills, expressions, size, grid
        self.device = stills.pictures.device
        self._side = stills.pictures.shape[-1]
        self._shapes = stills.own_shapes()
        followers = torch.tensor(_followers(), device=self.device)
        self._followers, share = followers[:, :3], followers[:, 3]
        solid = torch.ones(POINTS + len(EYES) + len(OVAL), device=self.device)
        self._share = torch.cat((solid, share))
        line = torch.linspace(-0.04, 1.04, 12, device=self.device) * self._side
        low, high = torch.full_like(line, float(line[0])), torch.full_like(line, float(line[-1]))
        edges = ((line, low), (line, high), (low, line[1:-1]), (high, line[1:-1]))
        self._border = torch.cat([torch.stack((x[: len(y)], y[: len(x)]), -1) for x, y in edges])

    def batch(self, count: int, generator: torch.Generator) -> Pairs:
        """``count`` pairs of portraits drawn at random."""
        index = torch.randint(len(self.stills), (count,), generator=generator, device=self.device)
        return self.pairs(index, generator)

    @torch.no_grad()
    def pairs(self, index: Tensor, generator: torch.Generator) -> Pairs:
        """A pair of each of these portraits [N]."""
        source, driving = self._draw(index, generator)
        looks = torch.rand(len(index), LOOKS, generator=generator, device=self.device)
        first, first_points = self.render(index, source, looks)
        second, second_points = self.render(index, driving, looks)
        return Pairs(first, second, first_points, second_points)

    def untouched(self, count: int) -> View:
        """Portraits as they are, in the middle of the window."""
        return View(
            torch.zeros(count, 3, device=self.device),
            torch.zeros(count, 2, device=self.device),
            torch.ones(count, device=self.device),
            still_expression(count, self.device),
            torch.full((count, 2), (self._side - 1) / 2, device=self.device),
            torch.full((count,), 0.89 * self._side, device=self.device),
        )

    def _draw(self, index: Tensor, generator: torch.Generator) -> tuple[View, View]:
        count, device = len(index), self.device

        def normal(*shape: int) -> Tensor:
            return torch.randn(count, *shape, generator=generator, device=device)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(count, *shape, generator=generator, device=device)

        def view() -> View:
            most = torch.tensor(MOST_ANGLES, device=device)
            angles = (normal(3) * torch.tensor(ANGLES, device=device)).clamp(-most, most)
            shown, reach = self.stills.angles[index], torch.tensor(REACH, device=device)
            facing = (shown + angles[:, :2]).clamp(-reach, reach) - shown
            angles = torch.cat((facing, angles[:, 2:]), 1) * (math.pi / 180)
            shift = (normal(2) * SHIFT).clamp(-MOST_SHIFT, MOST_SHIFT) * self._side
            zoom = 1 + (normal() * ZOOM).clamp(-MOST_ZOOM, MOST_ZOOM)
            plain = self.untouched(count)
            return View(
                angles, shift, zoom, self.expressions.draw(count, generator), plain.middle, plain.side
            )

        source, driving = view(), view()
        plain = self.untouched(count)
        touched = (uniform() >= UNTOUCHED).float()
        source = _between(plain, source, touched)
        near = torch.where(uniform() < NEIGHBOURS, NEAR, 1.0)
        driving = _between(source, driving, near)
        middle = plain.middle + (2 * uniform(2) - 1) * WINDOW_SHIFT * self._side
        side = plain.side * (1 + (2 * uniform() - 1) * WINDOW_SIZE)
        return (
            source._replace(middle=middle, side=side),
            driving._replace(
                middle=middle + 0.3 * WINDOW_SHIFT * self._side * normal(2).clamp(-2, 2),
                side=side * (1 + 0.3 * WINDOW_SIZE * normal().clamp(-2, 2)),
            ),
        )

    def render(self, index: Tensor, view: View, looks: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [M, 3, size, size], 0..1, of portraits [M], and FaceMesh points [M, 468, 2], -1..1."""
        count, side = len(index), self._side
        before, after, slack = self._points(index, view)
        middle, half = view.middle[:, None], view.side[:, None, None] / 2
        places = middle + coordinate_grid(self.grid, self.grid, before).reshape(1, -1, 2) * half
        found = cone_spline(after, before, slack, places)
        position = found.reshape(count, self.grid, self.grid, 2) * (2 / (side - 1)) - 1
        position = functional.interpolate(
            position.permute(0, 3, 1, 2), size=(self.size, self.size), mode="bilinear", align_corners=True
        )
        pictures = self.stills.pictures[index].float() / 255
        shown = functional.grid_sample(
            pictures,
            position.permute(0, 2, 3, 1),
            mode="bicubic",
            padding_mode="reflection",
            align_corners=True,
        ).clamp(0, 1)
        points = (after[:, :POINTS] - middle) / half
        centimetre = self.stills.scale[index] * (self.size - 1) / view.side
        upper, lower = INNER_LIP_UPPER[5], INNER_LIP_LOWER[5]
        gap_before, gap_after = (
            (p[:, upper] - p[:, lower]).norm(dim=-1) / self.stills.scale[index] for p in (before, after)
        )
        skin = before[:, list(SKIN)] * (2 / (side - 1)) - 1
        light = functional.grid_sample(pictures, skin[:, None], align_corners=True).mean((1, 2, 3)) / 0.5
        painted = paint_mouth(
            shown, points, opened(gap_before, gap_after), centimetre, light.clamp(0.25, 1.3), looks
        )
        return painted, points

    def _points(self, index: Tensor, view: View) -> tuple[Tensor, Tensor, Tensor]:
        """Where points are in the portrait and in the view, [M, P, 2] in pixels, and their slack [M, P]."""
        count = len(index)
        own = self._shapes[index]
        moved = _meet(own, close_lids(own + view.expression.moves, view.expression.blink))
        scale, turn, shift = (
            tensor[index] for tensor in (self.stills.scale, self.stills.rotation, self.stills.shift)
        )

        def with_rest(face: Tensor, gaze: Tensor) -> Tensor:
            eyes = torch.stack([face[:, list(eye)].mean(1) for eye in EYES], 1)
            eyes = eyes + functional.pad(gaze, (0, 1))[:, None]
            x, y, deeper = COLLAR
            collar = face[:, list(OVAL)] * face.new_tensor((x, y, 1.0)) + face.new_tensor((0.0, 0.0, deeper))
            return torch.cat((face, eyes, collar, self._followers.expand(count, -1, -1)), 1)

        def in_picture(head: Tensor) -> Tensor:
            return scale[:, None, None] * (head @ turn.transpose(1, 2)) + shift[:, None]

        before = in_picture(with_rest(own, torch.zeros_like(view.expression.gaze)))
        with_face = in_picture(with_rest(moved, view.expression.gaze))
        pivot = in_picture(own.new_tensor(PIVOT).expand(count, 1, 3))
        posed = (with_face - pivot) @ rotation(view.angles).transpose(1, 2) * view.zoom[:, None, None] + pivot
        posed = posed + functional.pad(view.shift, (0, 1))[:, None]
        after = with_face + self._share[:, None] * (posed - with_face)
        facing = self._facing(posed[:, :POINTS])
        face = FACE_SLACK + HIDDEN_SLACK * torch.sigmoid((0.08 - facing) * 40)
        loose = face.new_full((count, after.shape[1] - POINTS + len(self._border)), LOOSE_SLACK)
        border = self._border.expand(count, -1, -1)
        return (
            torch.cat((before[..., :2], border), 1),
            torch.cat((after[..., :2], border), 1),
            torch.cat((face, loose), 1),
        )

    def _facing(self, points: Tensor) -> Tensor:
        """Cosine of the angle between the face's normal at points [M, 468, 3] and the way to the camera."""
        a, b, c = (points[:, self.stills.triangles[:, corner]] for corner in range(3))
        normal = functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)[..., 2]
        total = points.new_zeros(points.shape[:2])
        for corner in range(3):
            total.index_add_(1, self.stills.triangles[:, corner], normal)
        number = torch.bincount(self.stills.triangles.reshape(-1), minlength=POINTS).clamp(min=1)
        facing = total / number
        # whichever way round the triangles are, most of a face is seen
        return facing * torch.sign(facing.mean(1, keepdim=True))


def _between(first: View, second: View, part: Tensor) -> View:
    """``part`` [M] of the way between two views; the window is that of the first."""
    wide = part[:, None]
    return View(
        first.angles + (second.angles - first.angles) * wide,
        first.shift + (second.shift - first.shift) * wide,
        first.zoom + (second.zoom - first.zoom) * part,
        first.expression.toward(second.expression, part),
        first.middle,
        first.side,
    )


def _meet(own: Tensor, moved: Tensor) -> Tensor:
    """Points [M, 468, 3] with lips and lids that passed each other put back to where they meet.

    Where they are nearer than that in the portrait itself (``own``), they may stay as near.
    """
    moved = moved.clone()
    lines: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        # the corners are the same point above and below
        (INNER_LIP_UPPER[1:-1], INNER_LIP_LOWER[1:-1]),
        *zip(UPPER_LIDS, LOWER_LIDS, strict=True),
    ]
    for upper, lower in lines:
        top, bottom = moved[:, list(upper), 1], moved[:, list(lower), 1]
        least = (own[:, list(lower), 1] - own[:, list(upper), 1]).clamp(max=LEAST_GAP)
        overlap = (least - (bottom - top)).clamp(min=0)
        moved[:, list(upper), 1] = top - overlap / 2
        moved[:, list(lower), 1] = bottom + overlap / 2
    return moved
