"""What is asked of a model, term by term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from ...fomm import Keypoints, coordinate_grid
from ..landmarks import EYES, LID_GAPS, LIP_GAPS, MOUTH, POINTS, TURN_GAPS

PART_POINTS = tuple(sorted({*MOUTH, *(index for eye in EYES for index in eye)}))
"""Of the mouth and the eyes."""


OPENINGS = (LIP_GAPS, LID_GAPS)
TURNS = (TURN_GAPS,)
"""Groups of pairs of points for `gap_loss`."""

HEAT_WIDTH = 1.5
DETAIL_CELL = 8
"""Side, in pixels, of the places whose detail is compared."""
STRUCTURE_WINDOW, STRUCTURE_DEVIATION = 11, 1.5
STRUCTURE_FLOORS = (0.01**2, 0.03**2)
"""The Gaussian window in pixels, and what keeps the fractions finite, of Wang et al., 2004."""


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of the loss; a term with weight 0 is not computed."""

    perceptual: float = 10.0
    """Features of whole pictures, at ``scales``."""
    parts: float = 10.0
    """Features of mouth, eyes and another place, at full resolution, each."""
    picture: float = 10.0
    """Mean absolute difference of the pictures."""
    part_picture: float = 20.0
    """The same, of mouth and eyes."""
    detail: float = 0.0
    """Difference of how much fine detail there is, place by place: what is blurred has too little."""
    structure: float = 0.0
    """How far structural similarity is from 1: lines and texture are to lie where they were."""
    landmarks: float = 0.0
    """Distance, in parts of a face, between where FaceMesh sees its points in what was made and where in the
    driving picture; those of mouth and eyes count ``part_emphasis`` times. It needs FaceMesh."""
    openings: float = 0.0
    """Error of how far FaceMesh sees lips and lids apart. It needs FaceMesh."""
    flow: float = 20.0
    """Distance, in half pictures, between where the flow leads from the points and where it should."""
    gaps: float = 40.0
    """Error, in half pictures, of what the flow makes of the openings of mouth and eyes. They are small
    beside the motion of a head, of which points next to each other share the error."""
    turns: float = 0.0
    """The same of the tip of the nose against eyes, forehead and chin: how far the head turns."""
    warp: float = 0.0
    """Mean absolute difference of the small pictures, the source's moved by the flow: cheap, and also says
    where hair and background go."""
    equivariance: float = 10.0
    frames: float = 5.0
    """Equivariance of the Jacobians."""
    keypoints: float = 0.0
    """Distance between key-points and the FaceMesh points of ``anchors``, and between their motions."""
    heat: float = 0.0
    """Divergence of the heat from bells about the points of ``anchors``; it brings key-points from afar."""
    keep: float = 0.0
    """How far key-points that were not begun anew (``train fomm --renew``) are from where they were."""
    adversarial: float = 0.0
    features: float = 0.0
    """Features of the discriminator; needs ``adversarial``."""

    def painting(self) -> bool:
        """Whether any term looks at the finished picture."""
        pixels = (self.picture, self.part_picture, self.detail, self.structure)
        return any((self.perceptual, self.parts, *pixels, self.seen(), self.adversarial))

    def seen(self) -> bool:
        """Whether any term asks FaceMesh."""
        return bool(self.landmarks or self.openings)


@dataclass(frozen=True)
class LossOptions:
    """What the terms look at."""

    weights: LossWeights = field(default_factory=LossWeights)
    scales: tuple[float, ...] = (0.5,)
    """Sizes at which whole pictures are compared by features."""
    depth: int = 3
    """Blocks of VGG-16 for whole pictures."""
    part_depth: int = 3
    part_emphasis: float = 8.0
    """How much more a point of mouth or eyes counts in ``flow`` and ``landmarks`` than any other."""
    anchors: Mapping[int, int] = field(default_factory=dict)
    """FaceMesh points that key-points, by number, are asked to be at."""


def point_weights(emphasis: float, device: torch.device) -> Tensor:
    """Weights [468] of the points in `flow_loss`: ``emphasis`` for mouth and eyes, 1 for the others."""
    weights = torch.ones(POINTS, device=device)
    weights[list(PART_POINTS)] = emphasis
    return weights


def flow_loss(flow: Tensor, source_points: Tensor, driving_points: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean distance, per coordinate, between where ``flow`` [N, h, w, 2] leads and where it should.

    The flow says for a place in the driving picture where it is in the source picture; points [N, P, 2] in
    -1..1. Points outside either picture do not count.
    """
    found = functional.grid_sample(flow.permute(0, 3, 1, 2), driving_points[:, :, None], align_corners=True)
    distance = (found[..., 0].transpose(1, 2) - source_points).abs().mean(-1)
    inside = _inside_both(source_points, driving_points)
    counted = inside * weights
    return (distance * counted).sum() / counted.sum().clamp(min=1e-6)


def _inside_both(source_points: Tensor, driving_points: Tensor) -> Tensor:
    """Whether points [N, P, 2] are inside both pictures: [N, P]."""
    return (driving_points.abs().amax(-1) <= 1) & (source_points.abs().amax(-1) <= 1)


def gap_loss(
    flow: Tensor,
    source_points: Tensor,
    driving_points: Tensor,
    groups: Sequence[Sequence[tuple[int, int]]] = OPENINGS,
) -> Tensor:
    """How wrong the distance between two points is, as the flow finds it in the source picture.

    Mean absolute error of the coordinates, over the pairs of points of a group, then over the groups. Pairs
    with a point outside either picture do not count. Other arguments as for `flow_loss`.
    """
    inside = _inside_both(source_points, driving_points)
    means = []
    for pairs in groups:
        first, second = ([pair[side] for pair in pairs] for side in (0, 1))
        places = driving_points[:, first + second]
        found = functional.grid_sample(flow.permute(0, 3, 1, 2), places[:, :, None], align_corners=True)
        found = found[..., 0].transpose(1, 2)
        between = found[:, len(pairs) :] - found[:, : len(pairs)]
        wanted = source_points[:, second] - source_points[:, first]
        counted = inside[:, first] & inside[:, second]
        error = (between - wanted).abs().mean(-1)
        means.append((error * counted).sum() / counted.sum().clamp(min=1))
    return torch.stack(means).mean()


def warp_loss(flow: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """Mean absolute difference of ``driving`` [N, C, h, w] and ``source`` moved by ``flow`` [N, h, w, 2]."""
    moved = functional.grid_sample(source, flow, padding_mode="border", align_corners=True)
    return (moved - driving).abs().mean()


def anchor_loss(
    source: Tensor,
    driving: Tensor,
    source_points: Tensor,
    driving_points: Tensor,
    anchors: Mapping[int, int],
) -> Tensor:
    """How far key-points [N, K, 2] are from the FaceMesh points meant for them, and how far their motion is.

    Mean absolute differences of coordinates, twice the motion: it alone is used where motion is transferred,
    and it does not suffer where the two ideas of a place differ by a constant.
    """
    keypoints, points = list(anchors), list(anchors.values())
    missed_source = source[:, keypoints] - source_points[:, points]
    missed_driving = driving[:, keypoints] - driving_points[:, points]
    place = (missed_source.abs().mean() + missed_driving.abs().mean()) / 2
    return place + 2 * (missed_driving - missed_source).abs().mean()


def keep_loss(found: Keypoints, known: Keypoints, kept: Sequence[int]) -> Tensor:
    """How far the key-points ``kept``, by number, are from where they are ``known`` to be.

    Mean absolute difference of coordinates, and a fifth of that of the frames' entries.
    """
    places, frames = ((a[:, kept] - b[:, kept]).abs().mean() for a, b in zip(found, known, strict=True))
    return places + frames / 5


def heat_loss(
    heat: Tensor, temperature: float, points: Tensor, anchors: Mapping[int, int], width: float = HEAT_WIDTH
) -> Tensor:
    """How far heat [N, K, h, w] is from bells about the FaceMesh points meant for it, in nats a key-point.

    Unlike the distance of `anchor_loss`, whose gradient is nothing where it is cold, this brings a key-point
    from anywhere. ``width`` is the bell's standard deviation in cells.
    """
    _, _, rows, columns = heat.shape
    found = (heat[:, list(anchors)] / temperature).flatten(2).log_softmax(-1)
    grid = coordinate_grid(rows, columns, heat).reshape(1, 1, -1, 2)
    middle = points[:, list(anchors.values()), None].clamp(-1, 1)
    cells = (grid - middle) * ((columns - 1) / 2)
    wanted = (-(cells**2).sum(-1) / (2 * width**2)).log_softmax(-1)
    return (wanted.exp() * (wanted - found)).sum(-1).mean()


def picture_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference."""
    return (made - wanted).abs().mean()


def detail_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """Mean absolute difference of the standard deviation of the Laplacian of the brightness, of places of
    `DETAIL_CELL` pixels that overlap by half.

    Losses that compare pixels or features want the mean of all that might be there, which is blurred. This
    one asks for as much detail as there was, wherever in a place it may lie.
    """
    return (_detail(made) - _detail(wanted)).abs().mean()


def _detail(pictures: Tensor) -> Tensor:
    brightness = pictures.float().mean(1, keepdim=True)
    kernel = pictures.new_tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], dtype=torch.float32)
    laplacian = functional.conv2d(brightness, kernel[None, None])
    power = functional.avg_pool2d(laplacian**2, DETAIL_CELL, DETAIL_CELL // 2)
    # the root of 0 has no gradient
    return (power + 1e-6).sqrt()


def structure_loss(made: Tensor, wanted: Tensor) -> Tensor:
    """1 - structural similarity (Wang, Bovik, Sheikh, Simoncelli 2004) of pictures [N, C, H, W] in 0..1.

    As `evaluation.pictures.ssim`: every channel by itself, where the whole window is inside.
    """
    made, wanted = made.float(), wanted.float()
    mean_made, mean_wanted, square_made, square_wanted, product = _window_means(
        torch.cat((made, wanted, made * made, wanted * wanted, made * wanted))
    ).chunk(5)
    variances = square_made - mean_made**2 + square_wanted - mean_wanted**2
    covariance = product - mean_made * mean_wanted
    first, second = STRUCTURE_FLOORS
    above = (2 * mean_made * mean_wanted + first) * (2 * covariance + second)
    below = (mean_made**2 + mean_wanted**2 + first) * (variances + second)
    return 1 - (above / below).mean()


def _window_means(pictures: Tensor) -> Tensor:
    rows, columns = pictures.shape[-2:]
    return _window_sums(rows, pictures) @ pictures @ _window_sums(columns, pictures).T


def _window_sums(length: int, like: Tensor) -> Tensor:
    """[length - window + 1, length] with the bell of each place in a row: as a product of matrices, its means
    cost a CPU a tenth of what a convolution of single channels does."""
    offsets = torch.arange(STRUCTURE_WINDOW, device=like.device) - STRUCTURE_WINDOW // 2
    bell = torch.exp(-(offsets**2) / (2 * STRUCTURE_DEVIATION**2))
    places = torch.arange(length, device=like.device)
    at = places - places[: length - STRUCTURE_WINDOW + 1, None]
    inside = (at >= 0) & (at < STRUCTURE_WINDOW)
    return torch.where(inside, (bell / bell.sum())[at.clamp(0, STRUCTURE_WINDOW - 1)], 0.0)
