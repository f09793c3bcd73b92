"""Prepared pictures of our animator: twins that differ in nothing but the network, and packs of own faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")

from drawn_face import MIDDLE, SIDE, face  # noqa: E402

from deepfake_train.animate import Motion  # noqa: E402
from deepfake_train.evaluation.compression import available  # noqa: E402
from deepfake_train.faces import Picture, Points  # noqa: E402
from deepfake_train.fakes.collect import MARGIN, collect, cut_out  # noqa: E402
from deepfake_train.fakes.geometry import OUTLINE, USED  # noqa: E402
from deepfake_train.fakes.pack import Face, Pack, write_pack  # noqa: E402
from deepfake_train.fakes.prepared import REAL, pairs, resized, through_h264  # noqa: E402
from deepfake_train.fakes.prepared import prepare as prepare_pairs  # noqa: E402
from deepfake_train.fakes.reenacted import FAMILY, Driver, paste, prepare  # noqa: E402


class StillAnimator:
    """Gives every portrait back a little darker, whatever the motion."""

    size = 96

    @property
    def crop_rule(self) -> dict[str, Any]:
        return {"scale": 1.7, "shift": [0.0, -0.06]}

    def motion(self, crop: Picture) -> Motion:
        corners = np.array([[[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5]]], np.float32)
        return Motion(
            corners * float(crop.mean()) / 128, np.eye(2, dtype=np.float32)[None, None].repeat(3, 1)
        )

    def encode(self, crop: Picture) -> Picture:
        return crop

    def render(self, encoded: Picture, source: Motion, driving: Motion) -> Picture:
        return (encoded * 0.8).astype(np.uint8)


class Finder:
    """Finds the drawn face where it was drawn, in every second picture if it is to miss some."""

    def __init__(self, *, misses: bool = False) -> None:
        self._misses, self._asked = misses, 0

    def points(self, picture: Picture) -> Points | None:
        self._asked += 1
        if self._misses and self._asked % 2:
            return None
        return (face().points[:, :2] + MIDDLE * (face().points[:, :1] == 0)) * picture.shape[0] / SIDE


def made(count: int, finder: Finder | None = None) -> list:
    portraits = [face(seed) for seed in range(3)]
    animator = StillAnimator()
    drivers = [Driver("talker", [animator.motion(portrait.picture) for portrait in portraits])]
    found = prepare(portraits, drivers, animator, finder or Finder(), 1, count, "train")
    return [item for pair in found for item in pair]


def test_twins_differ_from_fakes_by_the_network_alone() -> None:
    packed = made(12)
    assert len(packed) == 24
    sizes = set()
    for (twin, split, _), (fake, _, name) in zip(packed[::2], packed[1::2], strict=True):
        assert (twin.source, fake.source, split) == (REAL, FAMILY, "train")
        assert name.endswith(("by talker", "by a turned still"))
        assert twin.picture.shape == fake.picture.shape
        sizes.add(fake.picture.shape[0])
        middle = slice(fake.picture.shape[0] // 3, -fake.picture.shape[0] // 3)
        darker = fake.picture[middle, middle].astype(float) / np.maximum(twin.picture[middle, middle], 1)
        assert darker.mean() == pytest.approx(0.8, abs=0.02)
        if fake.picture.shape[0] == SIDE:  # pasted back: the corners are the portrait's own
            assert np.array_equal(twin.picture[:1, :1], fake.picture[:1, :1])
    assert sizes == {StillAnimator.size, SIDE}


def test_a_seed_gives_the_same_pictures_again() -> None:
    for (a, _, first), (b, _, second) in zip(made(4), made(4), strict=True):
        assert first == second
        assert np.array_equal(a.picture, b.picture)


def test_pairs_without_a_face_in_the_fake_are_left_out() -> None:
    assert len(made(6, Finder(misses=True))) == 6


def test_points_of_a_twin_lie_on_its_face() -> None:
    for twin, _, _ in made(6)[::2]:
        outline = twin.points[list(OUTLINE), :2]
        size = twin.picture.shape[0]
        assert (outline > 0).all()
        assert (outline < size).all()
        wide = np.ptp(outline, axis=0).max() / size
        assert wide == pytest.approx(1 / 1.7 if size == StillAnimator.size else 116 / SIDE, abs=0.02)


def test_pasting_back_the_very_crop_changes_little() -> None:
    smooth = cv2.GaussianBlur(face().picture, (0, 0), 4)
    back = np.array([[1, 0, 30], [0, 1, 40]], np.float32)
    crop = smooth[40:140, 30:130]
    assert np.abs(paste(smooth, crop, back).astype(int) - smooth).max() <= 1


def test_pairs_of_a_pack(tmp_path: Path) -> None:
    write_pack(tmp_path, made(3), quality=None)
    assert pairs(Pack(tmp_path), "train") == {FAMILY: [(0, 1), (2, 3), (4, 5)]}
    assert pairs(Pack(tmp_path), "val") == {}
    write_pack(tmp_path, made(3)[1:], quality=None)
    with pytest.raises(ValueError, match="no pair"):
        pairs(Pack(tmp_path), "train")


def test_prepared_pairs_take_the_families_in_turn_and_are_made_again_by_their_seed() -> None:
    def darker(rng: np.random.Generator, of: Face) -> Face:
        return of._replace(picture=of.picture // 2)

    def noisy(rng: np.random.Generator, of: Face) -> Face:
        return of._replace(picture=rng.integers(0, 255, of.picture.shape).astype(np.uint8))

    def once() -> list:
        return list(prepare_pairs([face()], {"darker": darker, "noisy": noisy}, noisy, 1, 6, "train"))

    found, again = once(), once()
    assert [pair[1][0].source for pair in found] == ["darker", "noisy"] * 3
    for (real, fake), (same_real, same_fake) in zip(found, again, strict=True):
        assert real[0].source == REAL
        assert np.array_equal(real[0].picture, same_real[0].picture)
        assert np.array_equal(fake[0].picture, same_fake[0].picture)
    assert np.array_equal(found[0][1][0].picture, found[0][0][0].picture // 2)


def test_points_stay_on_a_face_that_is_resized() -> None:
    small = resized(face(), SIDE // 2)
    assert small.picture.shape == (SIDE // 2, SIDE // 2, 3)
    assert np.allclose(small.points[0, :2], face().points[0, :2] / 2 - 0.25)
    assert np.allclose(small.box, face().box / 2)


@pytest.mark.skipif(not available("h264-28"), reason="needs gst-launch-1.0")
def test_both_of_a_pair_go_through_the_same_encoder() -> None:
    packed = made(4)
    coded = through_h264(packed, 1, 1.0)
    for (before, _, _), (after, _, name) in zip(packed, coded, strict=True):
        assert before.picture.shape == after.picture.shape
        assert not np.array_equal(before.picture, after.picture)
        assert "crf" in name
    assert [name[-2:] for _, _, name in coded[::2]] == [name[-2:] for _, _, name in coded[1::2]]
    assert all(a[0] is b[0] for a, b in zip(packed, through_h264(packed, 1, 0.0), strict=True))


def test_faces_are_cut_out_with_their_points() -> None:
    points = face().points[list(USED), :2]
    cut = cut_out(face().picture, face().points[:, :2] + MIDDLE * (face().points[:, :1] == 0), "drawn")
    side = cut.picture.shape[0]
    assert side == round(MARGIN * 116)
    offset = cut.points[list(USED), :2] - points
    assert np.abs(offset - offset[0]).max() < 0.6
    assert np.ptp(cut.points[list(OUTLINE), 1]) == pytest.approx(116, abs=1)


def test_every_so_manyth_file_is_held_out(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), face(number).picture)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found, left_out = collect(
        [*paths, tmp_path / "broken.png"], Finder(), every=1, hold_out=2, source="drawn"
    )
    assert [split for _, split, _ in found] == ["train", "val", "train", "val"]
    assert left_out == {}
    _, left_out = collect(paths, Finder(misses=True), every=1, hold_out=0, source="drawn")
    assert left_out == {"no face": 2}
