"""Preparation: cutting into runs, splits, resuming, and a video of the portrait of nobody from end to end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")
pytest.importorskip("rich", reason="rich is only in the training environment (requirements.txt)")

import cv2

from deepfake_train.__main__ import main
from deepfake_train.faces import FaceFinder, square
from deepfake_train.preparation import videos
from deepfake_train.preparation.head import Head, fit, read_head
from deepfake_train.preparation.metadata import (
    Metadata,
    PreparationMismatchError,
    agree,
    fingerprint,
    split_of,
)
from deepfake_train.preparation.observation import NO_FACE, UNREADABLE, CutFinder, Observation
from deepfake_train.preparation.tracks import (
    MOVED,
    ROOM,
    SCENE_CUT,
    TOO_SHORT,
    Cutting,
    Run,
    overlap,
    runs,
    square_about,
)
from deepfake_train.preparation.videos import Preparation, find_videos

ROOT = Path(__file__).resolve().parents[3]
ZOO = ROOT / "models" / "zoo"
PORTRAIT = ROOT / "pipelines" / "assets" / "portrait.jpg"
CUTTING = Cutting(shortest=3, longest=6)


def face(x: float = 100, y: float = 100, side: float = 60) -> np.ndarray:
    return np.float32([(x - side / 2, y - side / 2), (x + side / 2, y + side / 2), (x, y)])


def run_of(first: np.ndarray, *others: np.ndarray) -> Run:
    run = Run(0, first)
    for points in others:
        run.add(points)
    return run


def seen(*points: np.ndarray | None, cuts: tuple[int, ...] = ()) -> list[Observation]:
    return [
        Observation(index, of, "" if of is not None else NO_FACE, index in cuts)
        for index, of in enumerate(points)
    ]


def cut(observations: list[Observation], room: float = 400) -> tuple[list[tuple[int, int]], Counter, Counter]:
    dropped, ends = Counter(), Counter()
    found = [(run.first, len(run.points)) for run in runs(observations, room, CUTTING, dropped, ends)]
    return found, dropped, ends


def test_a_run_ends_where_the_face_is_lost() -> None:
    found, dropped, ends = cut(seen(*[face()] * 4, None, *[face()] * 2))
    assert found == [(0, 4)]
    assert dropped == {NO_FACE: 1, TOO_SHORT: 2}
    assert ends == {NO_FACE: 1}


def test_a_run_ends_at_a_cut_when_long_enough_and_when_the_face_has_moved_away() -> None:
    assert cut(seen(*[face()] * 7, cuts=(3,)))[0] == [(0, 3), (3, 4)]
    assert cut(seen(*[face()] * 7, cuts=(3,)))[2] == {SCENE_CUT: 1}
    assert cut(seen(*[face()] * 9))[0] == [(0, 6), (6, 3)]
    walking = [
        face(100 + 9 * index) for index in range(9)
    ]  # the overlap is below a quarter after 40 of 60 px
    found, _, ends = cut(seen(*walking))
    assert found == [(0, 5), (5, 4)]
    assert ends == {MOVED: 1}


def test_a_run_ends_before_the_face_has_moved_more_than_the_frame_has_room_for() -> None:
    # a square of 100 px with its margin holds places up to 23 px apart
    walking = [face(100 + 6 * index) for index in range(12)]
    found, dropped, ends = cut(seen(*walking), room=100)
    assert found == [(0, 4), (4, 4), (8, 4)]
    assert (dropped, ends) == ({}, {ROOM: 2})
    # a face that fits nowhere is left to whoever looks for its square
    assert cut(seen(*[face()] * 4), room=50)[0] == [(0, 4)]


def test_a_run_ends_at_a_frame_that_cannot_be_read() -> None:
    # its points would be those of the frame after
    found, _, ends = cut([of for of in seen(*[face()] * 7) if of.number != 3])
    assert found == [(0, 3), (4, 3)]
    assert ends == {UNREADABLE: 1}


def test_overlap() -> None:
    assert overlap(face(), face()) == pytest.approx(1)
    assert overlap(face(), face(130)) == pytest.approx(1 / 3)
    assert overlap(face(), face(300)) == 0


def test_the_square_holds_the_face_and_lies_in_the_frame() -> None:
    run = run_of(face(80), face(120))
    square = square_about(run, (400, 400), CUTTING)
    assert square is not None
    assert square.side == pytest.approx(120)  # the common box of 100 px and its margins
    assert (square.x, square.y) == pytest.approx((100, 96.4))
    assert square_about(run_of(face(40), face(40)), (400, 400), CUTTING).x == pytest.approx(
        50.5
    )  # moved inside
    assert square_about(run_of(face(), face()), (80, 400), CUTTING).side == 80  # made smaller
    assert square_about(run_of(face(), face()), (70, 400), CUTTING) is None


def test_cuts_are_told_from_motion() -> None:
    finder, random = CutFinder(), np.random.default_rng(1)
    scene = cv2.resize(random.integers(0, 256, (9, 16, 3), np.uint8), (320, 180))
    assert not any(finder(np.roll(scene, 3 * index, 1)) for index in range(10))
    assert finder(255 - scene)
    assert not finder(255 - scene)


def test_splits_are_by_identity_and_about_as_large_as_asked() -> None:
    splits = Counter(split_of(f"person {index}", 0.1) for index in range(2000))
    assert splits["held-out"] == pytest.approx(200, abs=60)
    assert split_of("person 1", 0.1) == split_of("person 1", 0.1)
    assert split_of("anybody", 0.0) == "train"


def test_metadata_forgets_videos_that_were_not_finished(tmp_path: Path) -> None:
    metadata = Metadata(tmp_path)
    video = tmp_path / "a"
    video.write_bytes(b"a video")
    about = {"source": "a", "fingerprint": fingerprint(video), "dropped": {}, "kept": 3}
    metadata.add([{"clip": "a-000", "source": "a"}], about)
    with (tmp_path / "metadata.jsonl").open("a") as file:
        file.write(json.dumps({"kind": "clip", "clip": "b-000", "source": "b"}) + '\n{"kind": "vid')
    again = Metadata(tmp_path)
    assert again.is_done("a", video)
    assert not again.is_done("b", video)
    assert [line["clip"] for line in again.of("clip")] == ["a-000"]
    assert len((tmp_path / "metadata.jsonl").read_text().splitlines()) == 2


def test_a_video_is_not_taken_for_another_one_of_its_name(tmp_path: Path) -> None:
    first, second = tmp_path / "first" / "1.mp4", tmp_path / "second" / "1.mp4"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text(f"a video of the {path.parent.name} person")
    metadata = Metadata(tmp_path)
    metadata.add([], {"source": "1.mp4", "fingerprint": fingerprint(first), "dropped": {}, "kept": 0})
    with pytest.raises(ValueError, match=r"second/1\.mp4: '1\.mp4' stands in .*metadata\.jsonl"):
        metadata.is_done("1.mp4", second)


def test_names_begin_with_the_folder_that_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("A/1.mp4", "B/1.mp4", "B/deep/2.MP4", "B/text.txt", "3.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_videos([tmp_path / "A", tmp_path / "B", tmp_path / "3.mp4"])
    assert [name for _, name in found] == ["A/1.mp4", "B/1.mp4", "B/deep/2.MP4", "3.mp4"]
    monkeypatch.chdir(tmp_path / "A")
    assert [name for _, name in find_videos([Path()])] == ["A/1.mp4"]
    monkeypatch.chdir(tmp_path / "B" / "deep")
    assert [name for _, name in find_videos([Path("..")])] == ["B/1.mp4", "B/deep/2.MP4"]


def test_what_is_there_twice_or_not_at_all_is_refused(tmp_path: Path) -> None:
    for name in ("a/in/1.mp4", "b/in/1.mp4"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"a/in/1\.mp4 and .*b/in/1\.mp4 would both be called 'in/1\.mp4'"):
        find_videos([tmp_path / "a" / "in", tmp_path / "b" / "in"])
    with pytest.raises(ValueError, match="is given twice"):
        find_videos([tmp_path / "a", tmp_path / "a" / "in" / "1.mp4"])
    with pytest.raises(FileNotFoundError, match=r"no such file or folder: .*misspelt, .*lost"):
        find_videos([tmp_path / "a", tmp_path / "misspelt", tmp_path / "lost.mp4"])


@pytest.mark.parametrize("single", [False, True], ids=["folders", "files"])
def test_folders_of_people_stand_for_them(portrait: np.ndarray, tmp_path: Path, single: bool) -> None:
    wide = cv2.copyMakeBorder(portrait, 0, 0, 40, 40, cv2.BORDER_REPLICATE)
    given = []
    for person in ("one", "two"):
        write_video(tmp_path / person / f"of-{person}.avi", [wide] * 4)
        given.append(str(tmp_path / person / f"of-{person}.avi" if single else tmp_path / person))
    out = tmp_path / "out"
    main(
        [
            *("prepare", "videos", *given, "--zoo", str(ZOO), "--out", str(out), "--shortest", "3"),
            *("--size", "32", "--split-by", "folder", "--held-out", "0"),
        ]
    )
    clips = Metadata(out).of("clip")
    assert [clip["identity"] for clip in clips] == ["one", "two"]
    assert len({clip["clip"] for clip in clips}) == 2
    assert all((out / clip["clip"] / "frames.npy").exists() for clip in clips)


def test_a_person_may_have_folders_of_videos(portrait: np.ndarray, tmp_path: Path) -> None:
    # VoxCeleb's: with whole paths for people, the two videos of id00001 came to different splits
    wide = cv2.copyMakeBorder(portrait, 0, 0, 40, 40, cv2.BORDER_REPLICATE)
    root = tmp_path / "vox"
    for name in ("id00000/a/1.avi", "id00001/a/1.avi", "id00001/b/1.avi", "alone.avi"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_video(root / name, [wide] * 4)
    assert split_of("vox/id00001/a", 0.5) != split_of("vox/id00001/b", 0.5)
    out = tmp_path / "out"
    main(
        [
            *("prepare", "videos", str(root), "--zoo", str(ZOO), "--out", str(out), "--shortest", "3"),
            *("--size", "32", "--split-by", "folder", "--held-out", "0.5"),
        ]
    )
    clips = {clip["source"]: clip for clip in Metadata(out).of("clip")}
    assert {source: clip["identity"] for source, clip in clips.items()} == {
        "vox/alone.avi": "vox",
        "vox/id00000/a/1.avi": "vox/id00000",
        "vox/id00001/a/1.avi": "vox/id00001",
        "vox/id00001/b/1.avi": "vox/id00001",
    }
    for clip in clips.values():
        assert clip["clip"].partition("/")[0] == split_of(clip["identity"], 0.5)


def test_other_settings_are_refused_in_a_folder_that_was_begun(portrait: np.ndarray, tmp_path: Path) -> None:
    wide = cv2.copyMakeBorder(portrait, 0, 0, 40, 40, cv2.BORDER_REPLICATE)
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.avi", [wide] * 4)
    out = tmp_path / "out"
    given = ["prepare", "videos", str(tmp_path / "in"), "--zoo", str(ZOO), "--out", str(out)]
    given += ["--shortest", "3", "--size", "32"]
    main(given)
    before = (out / "settings.json").read_text()
    for option, value, said in (
        ("--size", "64", "size 32, not 64"),
        ("--presence", "0.5", "presence 0.8, not 0.5"),
        ("--held-out", "0.2", "held-out 0.1, not 0.2"),
        ("--split-by", "folder", "split-by file, not folder"),
    ):
        with pytest.raises(PreparationMismatchError, match=rf"out was begun with other settings: {said}; "):
            main([*given, option, value])
    assert (out / "settings.json").read_text() == before
    # another data set may come under another licence
    write_video(tmp_path / "in" / "b.avi", [wide] * 4)
    main([*given, "--licence", "CC0-1.0"])
    assert [clip["licence"] for clip in Metadata(out).of("clip")] == ["unknown", "CC0-1.0"]


def test_a_folder_without_settings_is_gone_on_with_and_gets_them(tmp_path: Path) -> None:
    agree(tmp_path, Preparation(size=64).settings())
    with pytest.raises(PreparationMismatchError, match="size 64, not 256"):
        agree(tmp_path, Preparation().settings())
    kept = json.loads((tmp_path / "settings.json").read_text())
    assert (kept["size"], kept["smallest"], kept["longest"]) == (64, 80.0, 1024)
    assert not kept.keys() & {"licence", "limits", "cutting"}
    # of a version that did not have one of them
    del kept["rival"]
    (tmp_path / "settings.json").write_text(json.dumps(kept))
    agree(tmp_path, Preparation(size=64).settings())
    assert json.loads((tmp_path / "settings.json").read_text())["rival"] == 0.6


def test_all_runs_of_a_video_are_cut_out_in_one_further_reading(
    portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [
        cv2.copyMakeBorder(portrait, 0, 0, left, 80 - left, cv2.BORDER_REPLICATE) for left in range(0, 40, 2)
    ]
    (tmp_path / "in").mkdir()
    write_video(tmp_path / "in" / "a.avi", frames)
    read: list[int] = []
    plain = videos.frames

    def counted(path: Path) -> Iterator[tuple[int, np.ndarray]]:
        for index, picture in plain(path):
            read.append(index)
            yield index, picture

    monkeypatch.setattr(videos, "frames", counted)
    out = tmp_path / "out"
    given = ["prepare", "videos", str(tmp_path / "in"), "--zoo", str(ZOO), "--out", str(out)]
    main([*given, "--shortest", "3", "--longest", "6", "--size", "48", "--held-out", "0"])
    clips = Metadata(out).of("clip")
    assert [(clip["first_frame"], clip["frames"]) for clip in clips] == [(0, 6), (6, 6), (12, 6)]
    assert read == list(range(18))
    whole = [picture for _, picture in plain(tmp_path / "in" / "a.avi")]
    for clip in clips:
        pictures = np.load(out / clip["clip"] / "frames.npy")
        x, y, side = clip["square"]
        for number, made in enumerate(pictures):
            wanted, _ = square(whole[clip["first_frame"] + number], x, y, side, 48)
            # the place is rounded in what is written down
            assert np.abs(made[..., ::-1].astype(int) - wanted).mean() < 0.5


@pytest.mark.parametrize("option", ["--size", "--shortest", "--longest"])
def test_lengths_are_above_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "videos", str(tmp_path), "--zoo", str(ZOO), "--out", str(tmp_path), option, "0"])
    assert f"argument {option}: '0' is not a whole number above 0" in capsys.readouterr().err


def test_clips_of_sources_whose_names_are_alike_are_kept_apart(portrait: np.ndarray, tmp_path: Path) -> None:
    wide = cv2.copyMakeBorder(portrait, 0, 0, 40, 40, cv2.BORDER_REPLICATE)
    for name in ("in/a/b-c.avi", "in/a-b/c.avi"):
        (tmp_path / name).parent.mkdir(parents=True)
        write_video(tmp_path / name, [wide] * 4)
    out = tmp_path / "out"
    given = ("prepare", "videos", str(tmp_path / "in"), "--zoo", str(ZOO), "--out", str(out))
    main([*given, "--shortest", "3", "--size", "32", "--held-out", "0"])
    assert len(list(out.rglob("frames.npy"))) == 2


def test_videos_that_cannot_be_read_are_reported_and_tried_again(
    portrait: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = cv2.copyMakeBorder(portrait, 0, 0, 40, 40, cv2.BORDER_REPLICATE)
    loading = tmp_path / "in" / "loading.avi"
    loading.parent.mkdir()
    loading.write_bytes(b"the rest is on its way")
    out = tmp_path / "out"
    arguments = ["prepare", "videos", str(tmp_path / "in"), "--zoo", str(ZOO), "--out", str(out)]
    arguments += ["--shortest", "3", "--size", "32"]
    with pytest.raises(SystemExit, match=r"1 of 1 videos are not readable: .*loading\.avi"):
        main(arguments)
    write_video(tmp_path / "in" / "whole.avi", [wide] * 4)
    main(arguments)
    assert "1 of 2 videos are not readable" in capsys.readouterr().out
    write_video(loading, [wide] * 4)
    main(arguments)
    assert "not readable" not in capsys.readouterr().out
    assert [line["source"] for line in Metadata(out).of("video")] == ["in/whole.avi", "in/loading.avi"]


def test_a_folder_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no videos in"):
        main(["prepare", "videos", str(tmp_path), "--zoo", str(ZOO), "--out", str(tmp_path / "out")])


def test_the_pose_of_a_head_is_recovered(tmp_path: Path) -> None:
    shape = np.random.default_rng(2).normal(0, 5, (468, 3))
    head = Head(shape, np.array([[0, 1, 2]]))
    yaw, pitch, roll = np.radians([20, -10, 5])
    about_y = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
    about_x = [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    about_z = [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    rotation = np.array(about_z) @ np.array(about_x) @ np.array(about_y)
    pose = fit(head, 7.5 * shape @ rotation.T + (100, 120, 30))
    assert pose.scale == pytest.approx(7.5)
    assert pose.error == pytest.approx(0, abs=1e-9)
    assert pose.shift == pytest.approx((100, 120, 30))
    assert pose.angles() == pytest.approx((20, -10, 5))
    (tmp_path / "head.obj").write_text("v 1 2 3\nv 4 5 6\nv 7 8 9\nf 1/1 2/2 3/3\n")
    read = read_head(tmp_path / "head.obj")
    assert read.shape[1].tolist() == [4, -5, -6]
    assert read.triangles.tolist() == [[0, 1, 2]]


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return cv2.resize(cv2.imread(str(PORTRAIT)), (240, 240), interpolation=cv2.INTER_AREA)


def write_video(path: Path, pictures: list[np.ndarray]) -> None:
    path.parent.mkdir(exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))
    for picture in pictures:
        writer.write(picture)
    writer.release()


def test_videos_become_clips_and_are_not_gone_through_again(portrait: np.ndarray, tmp_path: Path) -> None:
    def frame(left: int) -> np.ndarray:
        return cv2.copyMakeBorder(portrait, 0, 0, left, 80 - left, cv2.BORDER_REPLICATE)

    nobody = np.full((240, 320, 3), 60, np.uint8)
    write_video(tmp_path / "in" / "walk.avi", [frame(3 * index) for index in range(10)] + [nobody] * 3)
    write_video(tmp_path / "in" / "empty.avi", [nobody] * 4)
    (tmp_path / "in" / "broken.mp4").write_bytes(b"not a video")
    out = tmp_path / "out"
    arguments = [
        *("prepare", "videos", str(tmp_path / "in"), "--zoo", str(ZOO), "--out", str(out), "--shortest", "5"),
        *("--size", "64", "--licence", "CC0-1.0", "--held-out", "0"),
    ]
    main(arguments)
    lines = [json.loads(line) for line in (out / "metadata.jsonl").read_text().splitlines()]
    (clip,) = [line for line in lines if line["kind"] == "clip"]
    videos = {line["source"]: line for line in lines if line["kind"] == "video"}
    assert videos.keys() == {"in/empty.avi", "in/walk.avi"}
    assert videos["in/empty.avi"]["dropped"] == {NO_FACE: 4}
    assert videos["in/walk.avi"]["dropped"] == {NO_FACE: 3}
    assert (clip["frames"], clip["first_frame"], clip["licence"]) == (10, 0, "CC0-1.0")
    pictures = np.load(out / clip["clip"] / "frames.npy", mmap_mode="r")
    points = np.load(out / clip["clip"] / "landmarks.npy")
    assert (pictures.shape, pictures.dtype) == ((10, 64, 64, 3), np.uint8)
    assert (points.shape, points.dtype) == ((10, 468, 2), np.float32)
    assert points.min() > 0
    assert points.max() < 63
    found = FaceFinder(ZOO).points(np.ascontiguousarray(pictures[5][..., ::-1]))
    assert found is not None  # red and blue are where they belong, and the points where the face is
    assert np.abs(found - points[5]).mean() < 1
    before = (out / "metadata.jsonl").read_text()
    main(arguments)
    assert (out / "metadata.jsonl").read_text() == before


def test_stills_become_a_pack(portrait: np.ndarray, tmp_path: Path) -> None:
    finder = FaceFinder(ZOO)
    box = finder.box(portrait)
    assert box is not None
    mesh = finder.mesh(portrait, box).points
    (tmp_path / "in").mkdir()
    wide = cv2.copyMakeBorder(portrait, 60, 60, 60, 60, cv2.BORDER_REPLICATE)  # it is framed tightly
    large = cv2.resize(wide, (600, 600), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "in" / "a.png"), large)
    cv2.imwrite(str(tmp_path / "in" / "b.jpg"), large)
    cv2.imwrite(str(tmp_path / "in" / "none.png"), np.full((200, 200, 3), 99, np.uint8))
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    centimetres = (mesh - mesh.mean(0)) / 10
    np.savez(tmp_path / "head.npz", can=centimetres, tri=np.array([[0, 1, 2]]))
    out = tmp_path / "packs" / "faces.npz"  # the folder is made
    given = ["--zoo", str(ZOO), "--out", str(out), "--head", str(tmp_path / "head.npz")]
    main(["prepare", "stills", str(tmp_path / "in"), *given, "--licence", "CC0-1.0"])
    with np.load(out) as pack:
        assert pack["names"].tolist() == ["in/a.png"]
        decoded = cv2.imdecode(pack["data"][pack["off"][0] : pack["off"][1]], cv2.IMREAD_COLOR)
        assert decoded.shape == (288, 288, 3)
        points = pack["lm"][0] / 64 - 256
        again = finder.points(decoded)
        assert again is not None
        assert np.abs(again - points[:, :2]).mean() < 1
        assert np.abs(pack["euler"][0]).max() < 6
        fitted = pack["s"][0] * centimetres @ pack["R"][0].T + pack["t"][0]
        assert np.abs(fitted - points)[:, :2].mean() < 2
        assert str(pack["licence"]) == "CC0-1.0"
    with pytest.raises(SystemExit, match="none of 1 pictures was kept"):
        main(["prepare", "stills", str(tmp_path / "in" / "broken.png"), *given])
