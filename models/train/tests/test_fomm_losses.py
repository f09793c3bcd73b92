"""Losses of motion models against values computed by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
pytest.importorskip("cv2", reason="only in the training environment (requirements.txt)")

from torch.nn import functional  # noqa: E402

from deepfake_train.evaluation.pictures import ssim  # noqa: E402
from deepfake_train.fomm import Keypoints, coordinate_grid  # noqa: E402
from deepfake_train.training.fomm.adversary import (  # noqa: E402
    Judgement,
    PatchDiscriminator,
    adversarial_loss,
    discriminator_loss,
    feature_matching,
)
from deepfake_train.training.fomm.equivariance import Transformation, equivariance  # noqa: E402
from deepfake_train.training.fomm.losses import (  # noqa: E402
    TURNS,
    anchor_loss,
    detail_loss,
    flow_loss,
    gap_loss,
    heat_loss,
    keep_loss,
    picture_loss,
    point_weights,
    structure_loss,
    warp_loss,
)
from deepfake_train.training.fomm.parts import cut, face_parts  # noqa: E402
from deepfake_train.training.fomm.perceptual import BLOCKS, Vgg16, feature_distance  # noqa: E402
from deepfake_train.training.landmarks import LID_GAPS, LIP_GAPS, MOUTH, POINTS  # noqa: E402


def test_flow_loss_is_the_weighted_distance_of_the_points_inside() -> None:
    grid = coordinate_grid(8, 8, torch.zeros(1))
    flow = (0.5 * grid)[None]
    driving = torch.tensor([[[0.4, 0.2], [-0.6, 0.0], [0.0, 0.0], [1.2, 0.0]]])
    source = torch.tensor([[[0.2, 0.1], [-0.3, 0.2], [0.3, 0.0], [0.0, 0.0]]])
    weights = torch.tensor([1.0, 2.0, 4.0, 100.0])
    # missed by nothing, (0, 0.2), (0.3, 0); the last one is outside
    expected = (1 * 0.0 + 2 * 0.1 + 4 * 0.15) / 7
    found = flow_loss(flow, source, driving, weights)
    torch.testing.assert_close(found, torch.tensor(expected))


def test_detail_that_is_elsewhere_costs_little_and_detail_that_is_missing_much() -> None:
    noise = 0.5 + 0.2 * torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    moved = noise.roll(1, -1)
    blurred = functional.avg_pool2d(noise, 3, stride=1, padding=1)
    assert picture_loss(moved, noise) > picture_loss(blurred, noise), "colours alone prefer the blurred one"
    assert detail_loss(moved, noise) < 0.2 * detail_loss(blurred, noise)
    assert detail_loss(noise, noise) == 0


def test_structure_is_the_similarity_that_evaluate_measures() -> None:
    generator = np.random.default_rng(4)
    made, wanted = generator.integers(0, 256, (2, 40, 48, 3), dtype=np.uint8)
    wanted[8:30] = made[8:30] // 2
    tensors = [torch.from_numpy(x.astype(np.float32) / 255).permute(2, 0, 1)[None] for x in (made, wanted)]
    assert float(structure_loss(*tensors)) == pytest.approx(1 - ssim(made, wanted), abs=1e-5)
    assert float(structure_loss(tensors[0], tensors[0])) == pytest.approx(0, abs=1e-6)


def test_detail_of_a_plain_picture_has_a_gradient() -> None:
    plain = torch.full((1, 3, 32, 32), 0.5, requires_grad=True)
    detail_loss(plain, torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))).backward()
    assert plain.grad is not None
    assert plain.grad.isfinite().all()


def test_points_of_mouth_and_eyes_weigh_more() -> None:
    weights = point_weights(8.0, torch.device("cpu"))
    assert weights.shape == (POINTS,)
    assert weights[MOUTH[0]] == weights[159] == 8
    assert weights[4] == weights[152] == 1


def test_anchors_count_places_once_and_motion_twice() -> None:
    source = torch.tensor([[[9.0, 9.0], [0.1, 0.0]]])
    driving = torch.tensor([[[9.0, 9.0], [0.3, 0.0]]])
    source_points, driving_points = torch.zeros(1, 20, 2), torch.zeros(1, 20, 2)
    driving_points[0, 13, 0] = 0.1
    # missed by 0.1 and 0.2 in x, by nothing in y; the motion by 0.1
    found = anchor_loss(source, driving, source_points, driving_points, {1: 13})
    torch.testing.assert_close(found, torch.tensor((0.05 + 0.1) / 2 + 2 * 0.05))


def test_only_key_points_that_are_to_stay_are_kept() -> None:
    known = Keypoints(torch.zeros(1, 3, 2), torch.zeros(1, 3, 2, 2))
    value, frames = torch.zeros(1, 3, 2), torch.zeros(1, 3, 2, 2)
    value[0, 0], frames[0, 0] = 9.0, 9.0  # begun anew
    value[0, 2, 0], frames[0, 1, 0, 0] = 0.4, 0.8
    found = keep_loss(Keypoints(value, frames), known, [1, 2])
    # of 4 coordinates and of 8 entries of frames
    torch.testing.assert_close(found, torch.tensor(0.4 / 4 + 0.8 / 8 / 5))


def test_heat_in_the_right_place_loses_nothing() -> None:
    cells = torch.arange(9.0)
    bell = -((cells[:, None] - 2) ** 2 + (cells[None] - 6) ** 2) / (2 * 1.5**2)
    points = torch.zeros(1, 20, 2)
    points[0, 13] = torch.tensor([0.5, -0.5])  # column 6, row 2 of 9
    heat = torch.stack((torch.zeros(9, 9), 0.1 * bell))[None]
    assert heat_loss(heat, 0.1, points, {1: 13}).abs() < 1e-5
    # even heat: the logarithm of the cells, less the entropy of the bell
    bell = bell.flatten().softmax(0)
    expected = torch.tensor(81.0).log() + (bell * bell.log()).sum()
    torch.testing.assert_close(heat_loss(heat, 0.1, points, {0: 13}), expected)


def test_gaps_lose_what_lies_between_lips_and_between_lids() -> None:
    driving = torch.zeros(1, POINTS, 2)
    source = torch.zeros(1, POINTS, 2)
    for _, below in LIP_GAPS:
        driving[0, below, 1] = 0.4
    for above, below in LID_GAPS:
        driving[0, above, 0], driving[0, below, 0] = -0.1, 0.1
    grid = coordinate_grid(9, 9, torch.zeros(1))[None]
    still = grid.clone() + torch.tensor([0.3, -0.2])  # all moves, so nothing opens or closes
    # the mouth was shut: wrong by 0.4 in y; the eyes were: by 0.2 in x
    torch.testing.assert_close(gap_loss(still, source, driving), torch.tensor((0.2 + 0.1) / 2))
    assert gap_loss(still, driving, driving) < 1e-6


def test_turns_lose_where_the_nose_is_between_the_eyes() -> None:
    driving, source = torch.zeros(1, POINTS, 2), torch.zeros(1, POINTS, 2)
    driving[0, 1, 0] = 0.4  # the tip of the nose went to the right, and nothing else
    still = coordinate_grid(9, 9, torch.zeros(1))[None]
    torch.testing.assert_close(gap_loss(still, source, driving, TURNS), torch.tensor(0.2))
    torch.testing.assert_close(gap_loss(still, source, driving), torch.tensor(0.0))
    assert gap_loss(still, driving, driving, TURNS) < 1e-6
    # three of the four pairs do not count once their other ends have left the picture
    source[0, [33, 263, 10], 1] = 1.5
    torch.testing.assert_close(gap_loss(still, source, driving, TURNS), torch.tensor(0.2))


def test_warp_loss_compares_what_was_moved() -> None:
    source = torch.zeros(1, 1, 4, 4)
    source[..., 1] = 1
    flow = coordinate_grid(4, 4, source)[None].clone()
    flow[..., 0] -= 2 / 3  # what is seen comes from a pixel to the left
    driving = torch.zeros(1, 1, 4, 4)
    driving[..., 2] = 1
    assert warp_loss(flow, source, driving) < 1e-6
    torch.testing.assert_close(warp_loss(flow, source, source), torch.tensor(0.5))


def test_picture_loss_is_the_mean_difference() -> None:
    assert picture_loss(torch.tensor([0.5, 1.0]), torch.tensor([0.0, 0.75])) == 0.375


def test_key_points_that_move_with_the_picture_lose_nothing() -> None:
    generator = torch.Generator().manual_seed(1)
    transformation = Transformation(2, generator)
    moved = torch.rand(2, 5, 2, generator=generator) - 0.5
    frames = torch.eye(2) + 0.1 * torch.randn(2, 5, 2, 2, generator=generator)
    derivative = transformation.derivative(moved)
    found = Keypoints(transformation.points(moved), derivative @ frames)
    values, products = equivariance(found, Keypoints(moved, frames), transformation)
    assert values < 1e-6
    assert products < 1e-5
    shifted = Keypoints(found.value + torch.tensor([0.1, 0.0]), 2 * found.jacobian)
    values, products = equivariance(shifted, Keypoints(moved, frames), transformation)
    torch.testing.assert_close(values, torch.tensor(0.05))
    torch.testing.assert_close(products, torch.tensor(0.25))  # two of four entries by a half


def test_the_derivative_of_a_transformation_is_its_slope() -> None:
    transformation = Transformation(1, torch.Generator().manual_seed(2))
    transformation.bends *= 20
    place = torch.tensor([[[0.3, -0.2]]], dtype=torch.float64)
    for name in ("matrix", "shift", "controls", "bends"):
        setattr(transformation, name, getattr(transformation, name).double())
    slopes = [
        (transformation.points(place + step) - transformation.points(place - step)) / 2e-5
        for step in (torch.tensor([1e-5, 0.0]), torch.tensor([0.0, 1e-5]))
    ]
    torch.testing.assert_close(
        torch.stack(slopes, -1), transformation.derivative(place), atol=1e-5, rtol=1e-5
    )


def test_transformed_pictures_show_what_was_there() -> None:
    transformation = Transformation(1, torch.Generator().manual_seed(3))
    picture = coordinate_grid(64, 64, torch.zeros(1)).permute(2, 0, 1)[None]  # its colour is the place
    shown = transformation.pictures(picture)
    places = transformation.points(coordinate_grid(64, 64, picture).reshape(1, -1, 2)).reshape(1, 64, 64, 2)
    inside = places.abs().amax(-1) < 1
    torch.testing.assert_close(shown.permute(0, 2, 3, 1)[inside], places[inside], atol=2e-3, rtol=0)


def test_cuts_are_whole_pixels_inside_the_picture() -> None:
    picture = torch.arange(64.0 * 64).reshape(1, 1, 64, 64).expand(2, -1, -1, -1)
    middle = torch.tensor([[1 / 63, 1 / 63], [1.0, -1.0]])  # pixel (32, 32), and a corner
    found = cut(picture, middle, (0.125, 0.25))
    assert found.shape == (2, 1, 8, 16)
    torch.testing.assert_close(found[0, 0, 0, 0], torch.tensor(28.0 * 64 + 24))
    torch.testing.assert_close(found[1, 0], picture[1, 0, :8, -16:])


def test_parts_are_cut_by_the_points() -> None:
    points = torch.zeros(1, POINTS, 2)
    points[0, list(MOUTH)] = torch.tensor([0.0, 0.5])
    pictures = torch.zeros(1, 3, 64, 64)
    pictures[:, :, 46:50] = 1  # about y = 0.5
    mouth, eyes, place = face_parts(pictures, points, torch.tensor([4]))
    assert mouth.amax() == 1
    assert eyes.amax() == 0
    assert place.amax() == 0


def _weights(path: Path) -> Path:
    random = np.random.default_rng(0)
    widths = [3, *(width for width, count in zip((4, 5, 6, 7, 8), BLOCKS, strict=True) for _ in range(count))]
    tensors: dict[str, np.ndarray] = {}
    for index, (a, b) in enumerate(itertools.pairwise(widths)):
        tensors[f"w{index}"] = random.normal(size=(b, a, 3, 3)).astype(np.float16)
        tensors[f"b{index}"] = random.normal(size=b).astype(np.float16)
    np.savez(path, **tensors)
    return path


def test_vgg_gives_a_feature_a_block(tmp_path: Path) -> None:
    network = Vgg16(_weights(tmp_path / "vgg.npz"))
    features = network(torch.rand(1, 3, 32, 32))
    assert [tuple(f.shape[1:]) for f in features] == [
        (4, 32, 32),
        (5, 16, 16),
        (6, 8, 8),
        (7, 4, 4),
        (8, 2, 2),
    ]
    assert len(network(torch.rand(1, 3, 32, 32), depth=2)) == 2
    # the first convolution by hand, at a pixel away from the border
    picture = torch.rand(1, 3, 32, 32)
    patch = (picture[0, :, 4:7, 4:7] - network.mean[0]) / network.deviation[0]
    first = (network.w0 * patch).sum((1, 2, 3)) + network.b0
    with torch.no_grad():
        normed = (picture - network.mean) / network.deviation
        torch.testing.assert_close(torch.conv2d(normed, network.w0, network.b0)[0, :, 4, 4], first)


def test_feature_distance_sums_means_and_leaves_the_wanted_picture_alone() -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            return [x, 2 * x[:, :1]]

    made = torch.full((1, 2, 2, 2), 0.5, requires_grad=True)
    wanted = torch.full((1, 2, 2, 2), 0.25, requires_grad=True)
    distance = feature_distance(Twice(), made, wanted)
    torch.testing.assert_close(distance, torch.tensor(0.25 + 0.5))
    distance.backward()
    assert made.grad is not None
    assert wanted.grad is None


def test_adversarial_losses() -> None:
    real = Judgement(torch.tensor([1.0, 0.5]), [torch.tensor([1.0, 2.0])])
    made = Judgement(torch.tensor([0.0, 0.5]), [torch.tensor([1.5, 2.0])])
    assert discriminator_loss(real, made) == 0.25 / 2 + 0.25 / 2
    assert adversarial_loss(made) == (1 + 0.25) / 2
    assert feature_matching(real, made) == 0.25
    judged = PatchDiscriminator()(torch.rand(2, 3, 40, 56))
    assert judged.scores.shape == (2, 1, 5, 7)
    assert len(judged.features) == 3
