"""Both evaluations from the first frame to the tables, on a video in which the portrait of nobody moves."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")
pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")
pytest.importorskip("matplotlib", reason="matplotlib is only in the training environment (requirements.txt)")
pytest.importorskip("rich", reason="rich is only in the training environment (requirements.txt)")

import cv2
from drawn_face import face as drawn_face

from deepfake_train.__main__ import main
from deepfake_train.animate import X2FaceAnimator
from deepfake_train.evaluation import cross, reenactment
from deepfake_train.evaluation.clips import Clip, Frame, read_clip
from deepfake_train.evaluation.compression import available, compress
from deepfake_train.evaluation.detection import Results, Scored
from deepfake_train.evaluation.detector import Detector
from deepfake_train.evaluation.judge import Judge, Weights
from deepfake_train.evaluation.reel import Reel
from deepfake_train.evaluation.suspects import REAL, footage, generator, most_alike
from deepfake_train.faces import Box, FaceFinder, Mesh
from deepfake_train.fakes import Face
from deepfake_train.fakes.pack import write_pack
from deepfake_train.manifest import WrongKindError, read
from deepfake_train.video import frames

ROOT = Path(__file__).resolve().parents[3]
ZOO = ROOT / "models" / "zoo"
PORTRAIT = ROOT / "pipelines" / "assets" / "portrait.jpg"
CROP = {"scale": 1.7, "shift": [0.0, -0.06]}


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    picture = cv2.imread(str(PORTRAIT))
    assert picture is not None
    return cv2.resize(picture, (240, 240), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder(ZOO)


@pytest.fixture(scope="module")
def video(portrait: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of 320x240: the portrait moves to the right, and is gone in the last two."""
    path = tmp_path_factory.mktemp("clips") / "walk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))
    for index in range(12):
        frame = np.full((240, 320, 3), 90, np.uint8)
        if index < 10:
            frame[:, 2 * index : 2 * index + 240] = portrait
        writer.write(frame)
    writer.release()
    return path


def test_the_crop_stands_still_and_the_face_moves_in_it(video: Path, finder: FaceFinder) -> None:
    clip = read_clip(video, finder, CROP, every=1)
    assert (len(clip.frames), clip.without_face, clip.outside) == (10, 2, 0)
    assert clip.frames[0].crop.shape == (256, 256, 3)
    step = np.mean([frame.points.mean(0)[0] for frame in clip.frames[-3:]]) - np.mean(
        [frame.points.mean(0)[0] for frame in clip.frames[:3]]
    )
    face = np.ptp(clip.frames[0].points, axis=0).max()
    assert face == pytest.approx(256 / 1.7, rel=0.06)
    enlarged = 256 / 1.7 / np.ptp(finder.points(next(frames(video))[1]), axis=0).max()
    assert step == pytest.approx(14 * enlarged, rel=0.1)  # seven frames of two pixels


def test_footage_is_not_resampled(video: Path, finder: FaceFinder) -> None:
    clip = footage(video, finder, every=5)
    original = next(frames(video))[1]
    assert len(clip.pictures) == 2
    assert cv2.matchTemplate(original, clip.pictures[0], cv2.TM_SQDIFF).min() < 1


def test_compression_keeps_sizes_and_order(portrait: np.ndarray) -> None:
    pictures = [portrait[:101, :87], portrait[50:200, 20:100]]
    for level in ("none", "jpeg-75", "h264-28"):
        if not available(level):
            continue
        for before, after in zip(pictures, compress(pictures, level, moving=False), strict=True):
            assert after.shape == before.shape
            assert cv2.PSNR(before, after) > 25
    with pytest.raises(ValueError, match="no level"):
        compress(pictures, "vp9-3", moving=False)


@pytest.mark.skipif(not available("h264-23"), reason="needs GStreamer's command line")
def test_stronger_compression_loses_more(portrait: np.ndarray) -> None:
    moving = [np.roll(portrait, index, 1) for index in range(4)]
    quality = {}
    for level in ("h264-23", "h264-35"):
        decoded = compress(moving, level, moving=True)
        quality[level] = min(cv2.PSNR(a, b) for a, b in zip(moving, decoded, strict=True))
    assert quality["h264-23"] > quality["h264-35"] > 20


def test_the_detectors_crop_is_the_manifests_square() -> None:
    detector, manifest = Detector(ZOO / "fwa-lite", threads=1), read(ZOO / "fwa-lite")
    side, size = 60.0, manifest["input"]["width"]
    points = np.float32([(100, 120), (100 + side, 120 + side)])
    y, x = np.mgrid[0:300, 0:300].astype(np.float32)
    patch = detector.crop(np.stack((x, y, x), -1).astype(np.uint8) // 2 * 2, points)
    assert patch.shape == (size, size, 3)
    wanted = side * manifest["crop"]["scale"]
    assert float(patch[0, -1, 0]) - float(patch[0, 0, 0]) == pytest.approx(wanted, abs=3)
    middle_y = 120 + side / 2 + manifest["crop"]["shift"][1] * side
    assert patch[size // 2, size // 2, 1] == pytest.approx(middle_y, abs=2)


def test_draws_are_those_of_the_name() -> None:
    assert generator("fwa", "a").integers(1 << 30) == generator("fwa", "a").integers(1 << 30)
    assert generator("fwa", "a").integers(1 << 30) != generator("fwa", "b").integers(1 << 30)
    assert most_alike([np.float32([0, 0, 0]), np.float32([9, 0, 0]), np.float32([4, 0, 0])]) == [2, 2, 0]


def test_evaluate_fomm_takes_x2face_too(video: Path, tmp_path: Path) -> None:
    # random weights: worse than doing nothing
    common = ("--zoo", str(ZOO), "--clips", str(video), "--out", str(tmp_path / "out"), "--every", "4")
    main(["evaluate", "fomm", "--model", str(ZOO.parent / "tests" / "data" / "x2face-smallest"), *common])
    results = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert results["model"] == "x2face-smallest"
    assert results["overall"]["model"]["psnr"] < results["overall"]["copy"]["psnr"]
    assert "| walk | 2 |" in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")


def test_evaluate_fomm_writes_everything(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, sheet = str(tmp_path), tmp_path / "sheet.png"
    common = ["--zoo", str(ZOO), "--clips", str(video), "--out", folder, "--every", "4", "--threads", "1"]
    main(["evaluate", "fomm", "--model", str(ZOO / "fomm-lite"), *common, "--sheet", str(sheet)])
    results = json.loads((tmp_path / "results.json").read_text())
    model, copy = results["overall"]["model"], results["overall"]["copy"]
    said = capsys.readouterr().out
    assert "walk: faces ━" in said
    assert "walk: predictions ━" in said
    assert results["clips"]["walk"]["frames"] == 2
    assert "lpips" not in model
    assert model["akd"] < copy["akd"]  # the head moves, which is what the model is good at
    assert model["no_face"] == 0
    assert "| AKD, px of 256 |" in (tmp_path / "results.md").read_text()
    assert cv2.imread(str(sheet)).shape == (768, 512, 3)


class _Mirror(X2FaceAnimator):
    """Shows the driver, or the portrait still."""

    def __init__(self, *, driver: bool) -> None:
        self._driver = driver

    def embed(self, crop: np.ndarray) -> np.ndarray:
        return crop

    def render(self, embedded: np.ndarray, crop: np.ndarray) -> np.ndarray:
        return crop if self._driver else embedded


def test_a_driver_is_followed_wholly_by_a_mirror_and_not_at_all_by_a_still(
    portrait: np.ndarray, finder: FaceFinder
) -> None:
    faces = []
    for stretch in (1.0, 1.12, 1.25, 1.06):
        squeezed = cv2.warpAffine(
            portrait, np.float32([[1, 0, 0], [0.1 * stretch, stretch, -20]]), (256, 256)
        )
        points = finder.points(squeezed)
        assert points is not None
        faces.append(Frame(len(faces), squeezed, points))
    clip = Clip("stretched", faces, 0, 0)
    still = [cross.Portrait("first", faces[0].crop)]
    judge = Judge(finder, Weights(), 1)
    mirrored = cross.cross_reenactment(_Mirror(driver=True), judge, still, [clip, clip])
    for what in ("mouth", "eyes", "turn"):
        assert mirrored[f"{what}_gain"] == pytest.approx(1, abs=1e-6)
        assert mirrored[f"{what}_correlation"] == pytest.approx(1, abs=1e-6)
    frozen = cross.cross_reenactment(_Mirror(driver=False), judge, still, [clip])
    assert [frozen[f"{what}_gain"] for what in ("mouth", "eyes", "turn")] == [0, 0, 0]
    assert frozen["sharpness"] == pytest.approx(1)
    assert frozen["no_face"] == mirrored["no_face"] == 0


def test_portraits_are_moved_by_the_clips(video: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    common = ["--zoo", str(ZOO), "--clips", str(video), "--out", str(folder), "--every", "4"]
    model = ["--model", str(ZOO / "fomm-lite"), "--threads", "1"]
    main(["evaluate", "fomm", *model, *common, "--portraits", str(PORTRAIT), str(PORTRAIT)])
    results = json.loads((folder / "results.json").read_text())
    assert results["portraits"] == 2
    assert results["cross"]["no_face"] == 0
    assert 0 < results["cross"]["sharpness"] < 1
    assert "2 portraits moved by each clip" in (folder / "results.md").read_text()
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((64, 64, 3), 128, np.uint8))
    for name, why in (("grey.png", "no face"), ("gone.png", "gone.png is not there")):
        with pytest.raises(ValueError, match=why):
            main(["evaluate", "fomm", *model, *common, "--portraits", str(tmp_path / name)])


def test_models_of_another_kind_are_refused_by_name(video: Path, tmp_path: Path) -> None:
    common = ["--zoo", str(ZOO), "--clips", str(video), "--out", str(tmp_path / "out")]
    pack = ["--pack", str(tmp_path)]
    write_pack(tmp_path, [(drawn_face(), "val", "a")])
    given = ["evaluate", "fwa", "--model", str(ZOO / "fwa-lite"), *common, *pack]
    with pytest.raises(WrongKindError, match=r"x2face-lite: .*'fomm' is wanted, .* of kind 'x2face'"):
        main([*given, "--animator", str(ZOO / "x2face-lite")])
    with pytest.raises(WrongKindError, match=r"fomm-lite: .*'fwa' or 'dsp-fwa' is wanted, .* of kind 'fomm'"):
        main(["evaluate", "fwa", "--model", str(ZOO / "fomm-lite"), *common, *pack])
    with pytest.raises(WrongKindError, match=r"fwa-lite: .*'fomm' or 'x2face' is wanted, .* of kind 'fwa'"):
        main(["evaluate", "fomm", "--model", str(ZOO / "fwa-lite"), *common])


@pytest.mark.parametrize("kind", ["fomm", "fwa"])
def test_every_noughth_frame_is_none(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", kind, "--every", "0"])
    assert "argument --every: '0' is not a whole number above 0" in capsys.readouterr().err


@pytest.mark.parametrize("first", ["fomm-lite", "x2face-lite"])
def test_animate_takes_the_crop_of_either_kind(video: Path, tmp_path: Path, first: str) -> None:
    out = tmp_path / "sheet.png"
    sources = ("--portrait", str(PORTRAIT), "--video", str(video), "--every", "6", "--out", str(out))
    main(["animate", "--zoo", str(ZOO), "--model", first, *sources])
    assert cv2.imread(str(out)).shape[0] == 512


def test_animate_draws_a_row_a_model(video: Path, tmp_path: Path) -> None:
    out, portrait = tmp_path / "sheet.png", ROOT / "pipelines" / "assets" / "portrait.jpg"
    models = ("--model", "fomm-lite", "--model", "x2face-lite")
    sources = ("--portrait", str(portrait), "--video", str(video), "--every", "6")
    main(["animate", "--zoo", str(ZOO), *models, *sources, "--out", str(out)])
    sheet = cv2.imread(str(out))
    rows = [sheet[top : top + 256] for top in (0, 256, 512)]
    assert sheet.shape[0] == 768
    assert sheet.shape[1] >= 512
    # the portrait itself stands before each row; what is made of it is neither the portrait nor the driver
    assert all((row[:, :256] == rows[0][:, :256]).all() for row in rows)
    for row in rows[1:]:
        assert np.abs(row[:, -256:].astype(int) - rows[0][:, -256:]).mean() > 1
        assert np.abs(row[:, -256:].astype(int) - row[:, :256]).mean() > 1


def _write_pack(folder: Path, portrait: np.ndarray, finder: FaceFinder, *splits: str) -> None:
    """A face of each of these splits, every other one brighter."""
    box = finder.box(portrait)
    assert box is not None
    points = finder.mesh(portrait, box).points
    corner = np.float32([box.x - box.side / 2, box.y - box.side / 2, box.side, box.side])
    face = Face(portrait, points, corner, "nobody")
    bright = face._replace(picture=cv2.convertScaleAbs(portrait, alpha=1.2))
    write_pack(folder, [((face, bright)[n % 2], split, f"{n}.png") for n, split in enumerate(splits)])


def test_clips_of_one_name_are_refused_before_any_is_read(tmp_path: Path) -> None:
    clips = ["--clips", str(tmp_path / "a" / "1.mp4"), str(tmp_path / "b" / "1.mp4")]
    common = ["--zoo", str(ZOO), *clips, "--out", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="same name"):
        main(["evaluate", "fomm", "--model", str(ZOO / "fomm-lite"), *common])


def test_clips_without_faces_are_no_result(tmp_path: Path) -> None:
    grey = tmp_path / "grey.avi"
    writer = cv2.VideoWriter(str(grey), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    for _ in range(3):
        writer.write(np.full((64, 64, 3), 128, np.uint8))
    writer.release()
    common = ["--zoo", str(ZOO), "--clips", str(grey), "--out", str(tmp_path / "out"), "--every", "1"]
    with pytest.raises(ValueError, match="nothing to evaluate"):
        main(["evaluate", "fomm", "--model", str(ZOO / "fomm-lite"), *common])


def test_a_clip_without_a_figure_is_a_gap_in_the_table() -> None:
    figures = {"l1": 0.1, "psnr": 20.0, "ssim": 0.5}
    results = {
        "model": "some",
        "motion": "absolute",
        "crop": "one",
        "every": 5,
        "identity_distance": "left out",
        "clips": {"a": {"frames": 1}, "b": {"frames": 1}},
        "overall": {who: figures | {"akd": 2.0} for who in ("model", "copy")},
        "by_clip": {
            "a": {"model": figures | {"akd": 2.0}, "copy": figures | {"akd": 3.0}},
            "b": {"model": figures, "copy": figures},  # no prediction had a face
        },
    }
    rows = [row for row in reenactment.markdown(results).splitlines() if row.startswith(("| a |", "| b |"))]
    assert len(rows) == 2
    assert rows[0].count("|") == rows[1].count("|")


def test_pictures_of_a_reel_are_those_that_were_given() -> None:
    random = np.random.default_rng(3)
    pictures = [random.integers(0, 256, (height, 7, 3)).astype(np.uint8) for height in (5, 9, 2)]
    reel = Reel(picture[:, ::-1] for picture in pictures)
    assert len(reel) == 3
    assert all(np.array_equal(a, b[:, ::-1]) for a, b in zip(reel, pictures, strict=True))
    assert np.array_equal(reel[-1], reel[2])
    assert [picture.shape[0] for picture in reel[:0:-1]] == [2, 9]
    assert all(np.array_equal(a, b) for a, b in zip(reel[1:7], (reel[1], reel[2]), strict=True))
    assert list(Reel([])) == []
    last = reel[2]
    del reel
    assert np.array_equal(last, pictures[2][:, ::-1])  # the file is there as long as any of them
    with pytest.raises(ValueError, match="read-only"):
        last[0, 0] = 1


class _Somebody:
    """Finds one face in the middle of every picture, and takes no memory for it."""

    def box(self, picture: np.ndarray) -> Box:
        return Box(0, 0, 0, 1)

    def mesh(self, picture: np.ndarray, box: Box) -> Mesh:
        y, x = np.mgrid[0:18, 0:26].reshape(2, -1) * 8 + 100
        return Mesh(np.stack((x + 100, y, 0 * x), 1).astype(np.float32), 1.0)


@pytest.fixture(scope="module")
def long_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames of 640x480, 55 MB when they are decoded."""
    path = tmp_path_factory.mktemp("long") / "long.avi"
    noise = np.random.default_rng(4).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (640, 480))
    for index in range(60):
        writer.write(np.roll(noise, index, 1) // 2)
    writer.release()
    return path


def _most_memory(work: Callable[[], object]) -> int:
    """Bytes that NumPy and Python had at once; those of mapped files can be taken back at any time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_frames_of_a_long_video_are_not_kept_in_memory(long_video: Path) -> None:
    somebody, made = _Somebody(), {}

    def cut_out() -> None:
        made["footage"] = footage(long_video, somebody, every=1)

    def crop() -> None:
        made["clip"] = read_clip(long_video, somebody, CROP, size=64, every=1)

    assert _most_memory(cut_out) < 15e6
    assert _most_memory(crop) < 15e6
    pictures = made["footage"].pictures
    assert len(pictures) == len(made["clip"].frames) == 60
    assert sum(picture.nbytes for picture in pictures) > 40e6
    originals = [picture for _, picture in frames(long_video)]
    assert cv2.matchTemplate(originals[59], pictures[59], cv2.TM_SQDIFF).min() == 0


@pytest.mark.parametrize("level", ["none", "jpeg-75", "h264-35"])
def test_pictures_of_a_long_video_are_compressed_outside_of_memory(long_video: Path, level: str) -> None:
    if not available(level):
        pytest.skip("needs GStreamer's command line")
    reel = Reel(picture for _, picture in frames(long_video))
    far = []

    def work() -> None:
        for before, after in zip(reel, compress(reel, level, moving=True), strict=True):
            far.append(cv2.PSNR(before, after))

    assert _most_memory(work) < 15e6
    assert len(far) == 60
    assert min(far) > 8  # noise, of which H.264 leaves little


def test_an_encoder_that_fails_says_why(
    portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "gst-launch-1.0"
    broken.write_text("#!/bin/sh\necho no element x264enc >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(RuntimeError, match=r"H\.264 failed: no element x264enc"):
        compress([portrait] * 4, "h264-28", moving=True)


def test_groups_without_pictures_are_left_out_and_further_stills_are_a_group(
    portrait: np.ndarray, finder: FaceFinder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # what `prepare faces` makes has no split "photo"
    _write_pack(tmp_path / "pack", portrait, finder, "val", "val")
    _write_pack(tmp_path / "senate", portrait, finder, "val", "val", "train")
    out = tmp_path / "out"
    common = ["--zoo", str(ZOO), "--pack", str(tmp_path / "pack"), "--threads", "1", "--out", str(out)]
    stills = ["--stills", str(tmp_path / "senate"), "--levels", "none"]
    main(["evaluate", "fwa", "--model", str(ZOO / "fwa-lite"), *common, *stills])
    results = json.loads((out / "results.json").read_text())
    said = capsys.readouterr().out
    assert all(f"{group}: left out" in said for group in ("camera stills", "video", "own output"))
    assert set(results["groups"]) == {"held-out stills", "senate stills"}
    assert results["groups"]["senate stills"]["none"]["real"] == 2
    _write_pack(tmp_path / "held-out", portrait, finder, "val")
    for named_alike in ([*stills, *stills], ["--stills", str(tmp_path / "held-out")]):
        with pytest.raises(ValueError, match="rename the folder"):
            main(["evaluate", "fwa", "--model", str(ZOO / "fwa-lite"), *common, *named_alike])
    with pytest.raises(ValueError, match="no level 'h265-20'"):
        main(["evaluate", "fwa", "--model", str(ZOO / "fwa-lite"), *common, "--levels", "h265-20"])
    with pytest.raises(ValueError, match="nothing to evaluate"):
        main(["evaluate", "fwa", "--model", str(ZOO / "fwa-lite"), *common, "--groups", "video"])


def test_calibration_compares_only_levels_that_both_classes_have() -> None:
    def scored(family: str, level: str, *scores: float) -> Scored:
        return Scored("own output", family, level, np.array(scores), np.array([family] * len(scores)))

    both = [scored(REAL, "none", 0.1, 0.2), scored("own", "none", 0.9, 0.8)]
    # reals that were degraded, and no fakes: called fake by mistake, but beside nothing
    alone = scored(REAL, "degraded", 0.99, 0.97)
    with_alone, without = (
        Results("some", 0.5, of).calibration("own output") for of in ([*both, alone], both)
    )
    assert with_alone.error == without.error == pytest.approx(0.15)


def test_evaluate_fwa_writes_everything(
    video: Path,
    portrait: np.ndarray,
    finder: FaceFinder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _write_pack(tmp_path / "pack", portrait, finder, "val", "val", "photo", "photo")
    other = tmp_path / "other.avi"
    other.write_bytes(video.read_bytes())
    common = ["--zoo", str(ZOO), "--clips", str(video), str(other), "--every", "5", "--threads", "1"]
    pack, out = (
        ["--pack", str(tmp_path / "pack"), "--portraits", "2", "--levels", "none", "jpeg-50"],
        tmp_path / "out",
    )
    main(["evaluate", "fwa", "--model", str(ZOO / "fwa-lite"), *common, *pack, "--out", str(out)])
    said = capsys.readouterr().out
    assert all(f"{group} ━" in said for group in ("held-out stills", "video", "own output"))
    results = json.loads((out / "results.json").read_text())
    assert set(results["groups"]) == {"held-out stills", "camera stills", "video", "own output"}
    of_videos = results["groups"]["video"]["none"]["families"]
    assert set(of_videos) == {"fwa", "self_blended", "reposed", "swap"}
    assert of_videos["fwa"]["video"]["fake"] == 2
    assert set(results["groups"]["own output"]["none"]["families"]) == {"own_portraits", "own_people"}
    assert "degraded" in results["groups"]["camera stills"]
    assert "degraded" not in results["groups"]["video"]
    assert {path.name for path in out.iterdir()} >= {"results.md", "reliability.png", "roc-video.png"}
    scores = np.load(out / "scores.npz")
    assert len(scores["score"]) == len(scores["clip"]) == len(scores["level"])
    chosen = (scores["group"] == "video") & (scores["family"] == "real") & (scores["level"] == "none")
    assert chosen.sum() == 4
