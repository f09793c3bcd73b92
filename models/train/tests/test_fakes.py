"""Fakes: each family changes the face and not what is far from it; degradations do not know the class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

cv2 = pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")

from drawn_face import MIDDLE, SIDE, face  # noqa: E402

from deepfake_train import fakes  # noqa: E402
from deepfake_train.fakes.camera import finish  # noqa: E402
from deepfake_train.fakes.geometry import USED  # noqa: E402
from deepfake_train.fakes.pack import write_pack  # noqa: E402


def near_and_far(distance: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    radius = np.hypot((x - MIDDLE[0]) / 45, (y - MIDDLE[1]) / 58)
    return radius < 0.4, radius > distance


@pytest.mark.parametrize("family", fakes.FAMILIES)
def test_family_changes_the_face_and_not_the_far_background(family: str) -> None:
    real, donor = face(), face(1)
    near, far = near_and_far(1.6)
    changed = []
    for seed in range(8):
        fake = fakes.make(family, np.random.default_rng(seed), real.picture, real.points, donor)
        assert fake.shape == real.picture.shape
        assert fake.dtype == np.uint8
        difference = np.abs(fake.astype(int) - real.picture).max(-1)
        changed.append(difference[near].mean())
        # one half of the self-blended ones treat what is around the face instead of the face
        if family != "self_blended":
            assert difference[far].max() <= 1, seed
    assert np.mean(changed) > 3
    assert min(changed) > 0.3


def test_self_blended_face_alone_is_changed_where_the_surroundings_stay() -> None:
    real = face()
    _, far = near_and_far(1.6)
    untouched = []
    for seed in range(8):
        fake = fakes.make("self_blended", np.random.default_rng(seed), real.picture, real.points)
        untouched.append(np.abs(fake.astype(int) - real.picture)[far].max() <= 1)
    assert any(untouched)


@pytest.mark.parametrize("family", fakes.FAMILIES)
def test_a_seed_gives_the_same_fake_again(family: str) -> None:
    real, donor = face(), face(1)
    first, second = (
        fakes.make(family, np.random.default_rng(3), real.picture, real.points, donor) for _ in range(2)
    )
    assert np.array_equal(first, second)


def test_families_take_points_without_depth_and_pictures_that_are_not_square() -> None:
    real = face()
    wide = cv2.copyMakeBorder(real.picture, 0, 0, 30, 50, cv2.BORDER_REFLECT)
    for family in fakes.TRAINED:
        fake = fakes.make(family, np.random.default_rng(0), wide, real.points[:, :2] + np.float32((30, 0)))
        assert fake.shape == wide.shape


def test_a_swap_needs_a_donor_and_families_are_known() -> None:
    real = face()
    with pytest.raises(ValueError, match="donor"):
        fakes.make("swap", np.random.default_rng(0), real.picture, real.points)
    with pytest.raises(ValueError, match="no family 'melted'"):
        fakes.make("melted", np.random.default_rng(0), real.picture, real.points)


@pytest.mark.parametrize("strength", [0.0, 0.35, 1.0])
def test_degradations_of_both_classes_are_drawn_alike(strength: float) -> None:
    """What is drawn must not depend on what is seen: after it, the generators of both classes agree."""
    real = face()
    fake = fakes.make("fwa", np.random.default_rng(0), real.picture, real.points)
    for seed in range(25):
        states = []
        for picture in (real.picture, fake):
            rng = np.random.default_rng(seed)
            result = fakes.degrade(rng, fakes.crop(rng, picture, real.points), strength)
            assert result.shape == (224, 224, 3)
            states.append(rng.bit_generator.state)
        assert states[0] == states[1]


def test_nothing_is_degraded_at_strength_zero_but_the_side() -> None:
    crop = fakes.crop(None, face().picture, face().points)
    for seed in range(6):
        result = fakes.degrade(np.random.default_rng(seed), crop, 0.0)
        assert np.array_equal(result, crop) or np.array_equal(result, crop[:, ::-1])


def test_the_camera_keeps_size_and_place() -> None:
    real = face()
    for seed in range(40):
        taken = fakes.shoot(np.random.default_rng(seed), real.picture, real.points)
        assert taken.shape == real.picture.shape
        a, b = (cv2.GaussianBlur(x, (0, 0), 6).astype(float)[..., 1].ravel() for x in (taken, real.picture))
        assert np.corrcoef(a, b)[0, 1] > 0.1, seed


def test_finishing_lifts_shadows_and_keeps_places() -> None:
    dark = face().picture.astype(np.float32)
    dark[:, : dark.shape[1] // 2] *= 0.3
    lifted = 0
    for seed in range(20):
        finished = finish(np.random.default_rng(seed), dark)
        assert finished.shape == dark.shape
        assert 0 <= finished.min() <= finished.max() <= 255
        lifted += finished[:, : dark.shape[1] // 2].mean() > 1.1 * dark[:, : dark.shape[1] // 2].mean()
        a, b = (cv2.GaussianBlur(x, (0, 0), 2).astype(float)[..., 1].ravel() for x in (finished, dark))
        assert np.corrcoef(a, b)[0, 1] > 0.5, seed
    assert 5 < lifted < 20, "sometimes, not always"


def test_pack_gives_back_what_was_packed(tmp_path: Path) -> None:
    faces = [(face(seed), "train" if seed < 2 else "val", f"head {seed}") for seed in range(3)]
    write_pack(tmp_path, faces, quality=100)
    pack = fakes.Pack(tmp_path)
    assert len(pack) == 3
    assert pack.indices("train").tolist() == [0, 1]
    assert pack.indices("val").tolist() == [2]
    assert pack.indices("photo").tolist() == []
    assert pack.name(1) == "head 1"
    read, packed = pack[1], faces[1][0]
    assert read.source == "drawn"
    assert np.abs(read.picture.astype(int) - packed.picture).mean() < 12
    assert np.allclose(read.points[list(USED)], packed.points[list(USED)], atol=0.1)
    assert np.allclose(read.box, packed.box)
    assert read.points.shape == (468, 3)


def test_a_pack_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    write_pack(tmp_path, [(face(), "train", "head")])
    content = (tmp_path / "pack.bin").read_bytes()
    (tmp_path / "pack.bin").write_bytes(content[:-1])
    with pytest.raises(ValueError, match="bytes of pictures"):
        fakes.Pack(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"fwa-pack\.npz"):
        fakes.Pack(tmp_path / "nowhere")
