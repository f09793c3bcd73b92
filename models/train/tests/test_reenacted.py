"""Prepared pictures of our animator: twins that differ in nothing but the network, and packs of own faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

cv2 = pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")

from drawn_face import MIDDLE, SIDE, face  # noqa: E402

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.animate import Motion  # noqa: E402
from deepfake_train.evaluation.compression import available  # noqa: E402
from deepfake_train.faces import Picture, Points  # noqa: E402
from deepfake_train.fakes.collect import MARGIN, collect, cut_out  # noqa: E402
from deepfake_train.fakes.geometry import OUTLINE, USED  # noqa: E402
from deepfake_train.fakes.pack import Face, Pack, write_pack  # noqa: E402
from deepfake_train.fakes.prepared import REAL, pairs, resized, through_h264  # noqa: E402
from deepfake_train.fakes.prepared import prepare as prepare_pairs  # noqa: E402
from deepfake_train.fakes.reenacted import FAMILY, Driver, paste, prepare, read_drivers  # noqa: E402
from deepfake_train.manifest import WrongKindError  # noqa: E402
from deepfake_train.preparation.metadata import PreparationMismatchError  # noqa: E402


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

    def crop(self, picture: Picture, points: Points) -> Picture:
        return cv2.resize(picture, (self.size, self.size)).astype(np.uint8)

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
    found = prepare(portraits, drivers, animator, finder or Finder(), 1, range(count), "train")
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
        return list(prepare_pairs([face()], {"darker": darker, "noisy": noisy}, noisy, 1, range(6), "train"))

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


def test_motions_of_a_driver_are_those_of_frames_with_a_face(tmp_path: Path) -> None:
    write_video(tmp_path / "talker.avi", [face(seed).picture for seed in range(6)])
    (driver,) = read_drivers([tmp_path / "talker.avi"], Finder(misses=True), StillAnimator(), every=1)
    assert len(driver.motions) == 3
    with pytest.raises(ValueError, match=r"talker\.avi: fewer than two frames with a face"):
        read_drivers([tmp_path / "talker.avi"], Finder(misses=True), StillAnimator(), every=2)


def write_video(path: Path, pictures: list[Picture]) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (SIDE, SIDE))
    for picture in pictures:
        writer.write(picture)
    writer.release()


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """Two faces for training, and none that is held out."""
    write_pack(tmp_path / "pack", [(face(seed), "train", str(seed)) for seed in range(2)])
    return tmp_path / "pack"


@pytest.fixture
def drawn_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find drawn faces, and move them, without networks, in the zoo ``tmp_path``."""
    (tmp_path / "fomm-lite").mkdir()
    (tmp_path / "fomm-lite" / "manifest.toml").write_text("of a model")
    monkeypatch.setattr("deepfake_train.faces.FaceFinder", lambda zoo: Finder())
    monkeypatch.setattr("deepfake_train.animate.Animator", lambda folder, threads: StillAnimator())


def test_a_split_without_faces_is_left_out(pack: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = pack.parent / "out"
    given = ["--pack", str(pack), "--out", str(out), "--compressed", "0"]
    main(["prepare", "compressed", *given, "--count", "2", "--held-out", "2"])
    assert "val: no faces of that split" in capsys.readouterr().out
    assert len(Pack(out).indices("train")) == 4
    assert len(Pack(out).indices("val")) == 0
    with pytest.raises(SystemExit, match="no pairs to make"):
        main(["prepare", "compressed", *given, "--count", "0", "--held-out", "2"])


def test_a_missing_encoder_is_told_before_pairs_are_made(pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deepfake_train.evaluation.compression.available", lambda level: False)
    made = []
    monkeypatch.setattr("deepfake_train.fakes.prepared.prepare", lambda *given: made.append(given) or [])
    with pytest.raises(SystemExit, match="--compressed needs gst-launch"):
        main(["prepare", "compressed", "--pack", str(pack), "--out", str(pack.parent / "out")])
    assert made == []


@pytest.mark.usefixtures("drawn_world")
@pytest.mark.parametrize("lost", [True, False], ids=["missing", "unreadable"])
def test_drivers_of_both_splits_are_read_before_pairs_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    write_pack(tmp_path / "pack", [(face(), "train", "a"), (face(1), "val", "b")])
    write_video(tmp_path / "talker.avi", [face(seed).picture for seed in range(3)])
    if not lost:
        (tmp_path / "other.avi").write_bytes(b"no video")
    made = []
    monkeypatch.setattr("deepfake_train.fakes.reenacted.prepare", lambda *given: made.append(given) or [])
    with pytest.raises(OSError, match=r"other\.avi"):
        main(
            [
                *(
                    "prepare",
                    "reenacted",
                    "--pack",
                    str(tmp_path / "pack"),
                    "--compressed",
                    "0",
                    "--every",
                    "1",
                ),
                *("--drivers", str(tmp_path / "talker.avi"), "--held-out-drivers"),
                *(str(tmp_path / "other.avi"), "--zoo", str(tmp_path), "--out", str(tmp_path / "out")),
            ]
        )
    assert made == []


class Interruption(KeyboardInterrupt):
    """Somebody does not want to wait any longer."""


@pytest.mark.usefixtures("drawn_world")
def test_pairs_that_were_interrupted_are_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfake_train.fakes.parts.PAIRS", 2)
    write_pack(tmp_path / "pack", [(face(), "train", "a"), (face(1), "val", "b")])
    write_video(tmp_path / "talker.avi", [face(seed).picture for seed in range(3)])
    talker = str(tmp_path / "talker.avi")

    def command(out: str, *more: str) -> list[str]:
        return [
            *("prepare", "reenacted", "--pack", str(tmp_path / "pack"), "--compressed", "0", "--every", "1"),
            *("--drivers", talker, "--held-out-drivers", talker, "--count", "5", "--held-out", "2"),
            *("--zoo", str(tmp_path), "--out", str(tmp_path / out), *more),
        ]

    rendered: list[int] = []
    plain = StillAnimator.render

    def render(animator: StillAnimator, encoded: Picture, source: Motion, driving: Motion) -> Picture:
        rendered.append(1)
        if len(rendered) == 4:
            raise Interruption
        return plain(animator, encoded, source, driving)

    monkeypatch.setattr(StillAnimator, "render", render)
    with pytest.raises(Interruption):
        main(command("out"))
    with pytest.raises(PreparationMismatchError, match="seed 1, not 2"):
        main(command("out", "--seed", "2"))
    # the first part is there, of the second one pair was lost
    main(command("out"))
    assert len(rendered) == 4 + 7 - 2
    main(command("whole"))
    for name in ("pack.bin", "pack.npz"):
        found, wanted = ((tmp_path / out / name).read_bytes() for out in ("out", "whole"))
        assert found == wanted
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["pack.bin", "pack.npz"]


@pytest.mark.usefixtures("drawn_world")
def test_pairs_of_both_splits_are_packed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pack(tmp_path / "pack", [(face(), "train", "a"), (face(1), "val", "b")])
    for name in ("talker", "other"):
        write_video(tmp_path / f"{name}.avi", [face(seed).picture for seed in range(3)])
    main(
        [
            *("prepare", "reenacted", "--pack", str(tmp_path / "pack"), "--compressed", "0", "--every", "1"),
            *("--drivers", str(tmp_path / "talker.avi"), "--count", "3", "--held-out", "8"),
            *("--held-out-drivers", str(tmp_path / "other.avi"), "--zoo", str(tmp_path)),
            *("--out", str(tmp_path / "out")),
        ]
    )
    made = Pack(tmp_path / "out")
    assert (len(made.indices("train")), len(made.indices("val"))) == (6, 16)
    said = capsys.readouterr().out
    assert "train: drivers ━" in said
    assert "val: drivers ━" in said
    held_out = {made.name(int(index)).rpartition(" by ")[2] for index in made.indices("val")[1::2]}
    assert held_out <= {"other.avi", "a turned still"}
    assert "other.avi" in held_out


def test_a_motion_model_of_another_kind_is_refused(pack: Path) -> None:
    zoo = Path(__file__).resolve().parents[2] / "zoo"
    given = ["--pack", str(pack), "--out", str(pack.parent / "out"), "--compressed", "0", "--zoo", str(zoo)]
    drivers = ["--drivers", str(pack), "--held-out-drivers", str(pack)]
    with pytest.raises(WrongKindError, match=r"x2face-lite: .*'fomm' is wanted, .* of kind 'x2face'"):
        main(["prepare", "reenacted", *given, *drivers, "--model", "x2face-lite"])


@pytest.mark.parametrize("kind", ["faces", "reenacted"])
def test_every_noughth_frame_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", kind, "--every", "0"])
    assert "argument --every: '0' is not a whole number above 0" in capsys.readouterr().err


@pytest.mark.usefixtures("drawn_world")
def test_files_that_cannot_be_read_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), face().picture)
    for name in ("broken.png", "broken.mp4"):
        (tmp_path / name).write_bytes(b"neither picture nor video")
    broken = [str(tmp_path / name) for name in ("broken.png", "broken.mp4")]
    given = ["--zoo", str(tmp_path), "--out", str(tmp_path / "new" / "out"), "--source", "drawn"]
    main(["prepare", "faces", *broken, str(tmp_path / "a.png"), *given])
    assert f"2 files not readable: {', '.join(broken)}" in capsys.readouterr().out
    assert len(Pack(tmp_path / "new" / "out")) == 1
    with pytest.raises(SystemExit, match=r"no face in 2 files; .*2 files not readable"):
        main(["prepare", "faces", *broken, *given])
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*misspelt\.png"):
        main(["prepare", "faces", str(tmp_path / "a.png"), str(tmp_path / "misspelt.png"), *given])


@pytest.mark.usefixtures("drawn_world")
def test_people_are_held_out_by_their_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("anna/1", "anna/2", "anna/3", "bert/1", "bert/2", "cleo/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"{name}.png"), face().picture)
    (tmp_path / "aaron").mkdir()
    (tmp_path / "aaron" / "1.png").write_bytes(b"no picture")  # nobody to be counted
    given = ["prepare", "faces", *sorted(map(str, tmp_path.rglob("*.png"))), "--zoo", str(tmp_path)]
    given += ["--source", "drawn", "--hold-out", "2"]
    splits = {}
    for by in ("file", "folder"):
        main([*given, "--out", str(tmp_path / by), "--hold-out-by", by])
        pack = Pack(tmp_path / by)
        splits[by] = [pack.split(index) for index in range(len(pack))]
    assert splits["folder"] == ["train"] * 3 + ["val"] * 2 + ["train"]
    assert splits["file"] == ["train", "val"] * 3
    main([*given, "--out", str(tmp_path / "default")])
    pack = Pack(tmp_path / "default")
    assert [pack.split(index) for index in range(len(pack))] == splits["file"]
    assert capsys.readouterr().out.count("files ━") == 3  # the bars


def test_every_so_manyth_file_is_held_out(tmp_path: Path) -> None:
    paths = []
    for number in range(4):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), face(number).picture)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found, left_out, unreadable = collect(
        [*paths, tmp_path / "broken.png"], Finder(), every=1, hold_out=2, source="drawn"
    )
    assert [split for _, split, _ in found] == ["train", "val", "train", "val"]
    assert left_out == {}
    assert unreadable == [tmp_path / "broken.png"]
    _, left_out, _ = collect(paths, Finder(misses=True), every=1, hold_out=0, source="drawn")
    assert left_out == {"no face": 2}
