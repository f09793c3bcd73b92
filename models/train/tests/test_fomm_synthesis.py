"""Pairs for training motion models: the warp, the views of a portrait, the clips they are kept as."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
pytest.importorskip("cv2", reason="only in the training environment (requirements.txt)")

from fomm_faces import NoExpressions, face_points, position_stills  # noqa: E402

from deepfake_train.fomm import coordinate_grid  # noqa: E402
from deepfake_train.training.clips import clip_folders  # noqa: E402
from deepfake_train.training.fomm.clips import ClipPairs, write_views  # noqa: E402
from deepfake_train.training.fomm.expressions import (  # noqa: E402
    Expression,
    close_lids,
    still_expression,
)
from deepfake_train.training.fomm.mouth_interior import LOOKS, opened, paint_mouth  # noqa: E402
from deepfake_train.training.fomm.pairs import Pairs, augmented, mixed  # noqa: E402
from deepfake_train.training.fomm.synthesis import PairSynthesis, rotation  # noqa: E402
from deepfake_train.training.fomm.warp import cone_spline  # noqa: E402
from deepfake_train.training.landmarks import (  # noqa: E402
    INNER_LIP_LOWER,
    INNER_LIP_UPPER,
    LOWER_LIDS,
    POINTS,
    UPPER_LIDS,
)

SIZE = 64


def test_a_spline_through_an_affine_map_is_that_map() -> None:
    generator = torch.Generator().manual_seed(0)
    at, wanted = torch.rand(2, 30, 2, generator=generator), torch.rand(2, 50, 2, generator=generator)
    matrix, shift = torch.tensor([[0.9, 0.2], [-0.1, 1.1]]), torch.tensor([3.0, -2.0])
    found = cone_spline(at, at @ matrix.T + shift, torch.full((2, 30), 0.5), wanted)
    torch.testing.assert_close(found, wanted @ matrix.T + shift, atol=1e-4, rtol=1e-4)


def test_a_spline_through_as_many_points_as_a_face_has_works_with_several_threads() -> None:
    generator = torch.Generator().manual_seed(1)
    at = torch.rand(2, POINTS, 2, generator=generator)
    values = torch.rand(2, POINTS, 1, generator=generator)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = cone_spline(at, values, torch.full((2, POINTS), 1e-9), at)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found, values, atol=1e-3, rtol=0)


def test_a_spline_without_slack_meets_its_points_and_does_not_overshoot() -> None:
    at = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5], [0.5, 0.52]]])
    values = torch.tensor([[[0.0], [0.0], [0.0], [0.0], [1.0], [-1.0]]])
    line = torch.stack((torch.full((200,), 0.5), torch.linspace(0, 1, 200)), -1)[None]
    slack = torch.full((1, 6), 1e-6)
    torch.testing.assert_close(cone_spline(at, values, slack, at), values, atol=1e-3, rtol=0)
    assert cone_spline(at, values, slack, line).abs().max() < 1.05


def test_points_that_contradict_each_other_are_missed_by_their_slack() -> None:
    at = torch.tensor([[[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0], [2.0, 2.0], [2.0, 2.0]]])
    values = torch.tensor([[[0.0], [0.0], [0.0], [0.0], [1.0], [-1.0]]])
    slack = torch.tensor([[1e-3] * 4 + [0.1, 100.0]])
    found = cone_spline(at, values, slack, at)
    assert found[0, 4, 0] > 0.9


def test_rotations_are_first_yaw_then_pitch_then_roll() -> None:
    nose = torch.tensor([0.0, 0.0, -1.0])  # towards the camera
    quarter = torch.pi / 2
    yaw, pitch, roll = (rotation(torch.eye(3)[axis] * quarter) for axis in range(3))
    torch.testing.assert_close(yaw @ nose, torch.tensor([-1.0, 0.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(pitch @ nose, torch.tensor([0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(roll @ nose, nose, atol=1e-6, rtol=0)
    both = rotation(torch.tensor([quarter, 0.0, quarter]))
    torch.testing.assert_close(both, roll @ yaw, atol=1e-6, rtol=0)


def test_lids_close_and_do_not_pass_each_other() -> None:
    points = face_points()[None]
    closed = close_lids(points, torch.tensor([[1.0, 0.0]]))
    left, right = (
        (closed[0, list(u), 1], closed[0, list(b), 1]) for u, b in zip(UPPER_LIDS, LOWER_LIDS, strict=True)
    )
    before = points[0, list(LOWER_LIDS[0]), 1] - points[0, list(UPPER_LIDS[0]), 1]
    gap = left[1] - left[0]
    assert (gap >= -1e-6).all()
    assert (gap < 0.02 * before + 1e-6).all()
    torch.testing.assert_close(right[0], points[0, list(UPPER_LIDS[1]), 1])


def _synthesis(size: int = SIZE) -> PairSynthesis:
    return PairSynthesis(position_stills(3), NoExpressions(), size, grid=96)


def test_an_untouched_view_is_the_portrait() -> None:
    synthesis = _synthesis()
    view = synthesis.untouched(2)
    index = torch.tensor([0, 2])
    pictures, points = synthesis.render(index, view, torch.zeros(2, LOOKS))
    middle, half = view.middle[:, None], view.side[:, None, None] / 2
    expected = (synthesis.stills.points[index, :, :2] - middle) / half
    torch.testing.assert_close(points, expected, atol=1e-5, rtol=0)
    assert pictures.shape == (2, 3, SIZE, SIZE)
    corner = (view.middle - view.side[:, None] / 2)[0, 0] / 287
    torch.testing.assert_close(pictures[0, 0, SIZE // 2, 0], corner, atol=0.01, rtol=0)


def test_pictures_move_with_the_points() -> None:
    # red and green of these portraits say where in the portrait a pixel is from
    synthesis = _synthesis(size=256)
    generator = torch.Generator().manual_seed(5)
    source, driving, source_points, driving_points = synthesis.pairs(torch.tensor([0, 1, 2]), generator)
    original = synthesis.stills.points[:, :, :2] / 287
    for pictures, points in ((source, source_points), (driving, driving_points)):
        seen = torch.nn.functional.grid_sample(pictures, points[:, None], align_corners=True)[:, :2, 0]
        missed = (seen.transpose(1, 2) - original).norm(dim=-1) * 287
        inside = points.abs().amax(-1) < 0.98
        # hidden points are not where they seem
        assert missed[inside].median() < 1.0
        assert missed[inside].quantile(0.9) < 4.0
    assert (source_points - driving_points).abs().max() > 0.05


def test_pairs_are_those_of_the_generator() -> None:
    synthesis = _synthesis()
    first, again, other = (synthesis.batch(2, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.driving, other.driving)


def test_expressions_go_part_of_the_way() -> None:
    none = still_expression(2, torch.device("cpu"))
    full = Expression(torch.ones(2, POINTS, 3), torch.full((2, 2), 0.2), torch.ones(2, 2))
    part = none.toward(full, torch.tensor([0.25, 1.0]))
    torch.testing.assert_close(part.moves[0], torch.full((POINTS, 3), 0.25))
    torch.testing.assert_close(part.moves[1], torch.ones(POINTS, 3))
    torch.testing.assert_close(part.blink[:, 0], torch.tensor([0.25, 1.0]))


def test_a_mouth_is_painted_between_the_lips_alone() -> None:
    points = torch.zeros(1, POINTS, 2)
    across = torch.linspace(-0.3, 0.3, len(INNER_LIP_UPPER))
    bow = 0.2 * (1 - (across / 0.3) ** 2)
    points[0, list(INNER_LIP_UPPER)] = torch.stack((across, -bow), -1)
    points[0, list(INNER_LIP_LOWER)] = torch.stack((across, bow), -1)
    white = torch.ones(1, 3, SIZE, SIZE)
    looks = torch.zeros(1, LOOKS)
    painted = paint_mouth(white, points, torch.ones(1), torch.tensor([4.0]), torch.ones(1), looks)[0]
    grid = coordinate_grid(SIZE, SIZE, white)
    height = 0.2 * (1 - (grid[..., 0] / 0.3) ** 2)
    outside = (grid[..., 1].abs() > height + 0.1) | (grid[..., 0].abs() > 0.35)
    assert painted[:, outside].min() > 0.95
    assert painted[0, SIZE // 2, SIZE // 2] < 0.3
    untouched = paint_mouth(white, points, torch.zeros(1), torch.tensor([4.0]), torch.ones(1), looks)
    torch.testing.assert_close(untouched, white)


def test_only_mouths_that_were_opened_are_painted() -> None:
    before, after = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 2.0])
    assert opened(before, after).tolist() == [0.0, 1.0, 0.0]


def test_mirrored_pairs_keep_points_and_pictures_together() -> None:
    ramp = torch.linspace(0, 1, SIZE).expand(16, 3, SIZE, SIZE)
    points = torch.linspace(-1, 1, POINTS).reshape(1, POINTS, 1).expand(16, POINTS, 2)
    made = augmented(Pairs(ramp, ramp, points, points), torch.Generator().manual_seed(0))
    mirrored = made.source[:, 0, 0, 0] > made.source[:, 0, 0, -1]
    assert 0 < mirrored.sum() < 16
    assert torch.equal(made.source_points[:, 0, 0] == 1, mirrored)
    torch.testing.assert_close(made.source_points[..., 1], points[..., 1])
    torch.testing.assert_close(made.source, made.driving)  # both change alike
    kept = augmented(Pairs(ramp, ramp, points, points), torch.Generator().manual_seed(0), mirrored=False)
    assert torch.equal(kept.source_points, points)
    turned = torch.where(mirrored[:, None, None, None], made.source.flip(-1), made.source)
    torch.testing.assert_close(kept.source, turned)


def test_kept_views_are_pairs_of_one_portrait(tmp_path: Path) -> None:
    synthesis = _synthesis()
    folders = list(write_views(synthesis, tmp_path, pairs=2, seed=3))
    assert clip_folders(tmp_path) == folders
    frames, points = np.load(folders[0] / "frames.npy"), np.load(folders[0] / "landmarks.npy")
    assert frames.shape == (4, SIZE, SIZE, 3)
    assert points.shape == (4, POINTS, 2)
    clips = ClipPairs(folders, SIZE, torch.device("cpu"))
    pairs = clips.batch(20, torch.Generator().manual_seed(0))
    assert not torch.equal(pairs.source[0], pairs.driving[0])
    # blue tells the portraits apart
    torch.testing.assert_close(pairs.source[:, 2], pairs.driving[:, 2], atol=0.01, rtol=0)
    assert len(pairs.source[:, 2, 32, 32].unique()) == 3
    both = mixed([(clips, 2), (synthesis, 1)], torch.Generator().manual_seed(0))
    assert both.source.shape == (3, 3, SIZE, SIZE)


def test_clips_of_another_format_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "frames.npy", np.zeros((3, 8, 8, 3), np.float32))
    np.save(tmp_path / "landmarks.npy", np.zeros((3, POINTS, 2), np.float32))
    with pytest.raises(ValueError, match="float32"):
        ClipPairs([tmp_path], SIZE, torch.device("cpu"))
