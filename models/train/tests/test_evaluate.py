"""Both evaluations from the first frame to the tables, on a video in which the portrait of nobody moves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")
pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")
pytest.importorskip("matplotlib", reason="matplotlib is only in the training environment (requirements.txt)")

import cv2

from deepfake_train.__main__ import main
from deepfake_train.animate import X2FaceAnimator
from deepfake_train.evaluation import cross, reenactment
from deepfake_train.evaluation.clips import Clip, Frame, read_clip
from deepfake_train.evaluation.compression import available, compress
from deepfake_train.evaluation.detection import Results, Scored
from deepfake_train.evaluation.detector import Detector
from deepfake_train.evaluation.judge import Judge, Weights
from deepfake_train.evaluation.suspects import REAL, footage, generator, most_alike
from deepfake_train.faces import FaceFinder
from deepfake_train.fakes import Face
from deepfake_train.fakes.pack import write_pack
from deepfake_train.manifest import read
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


def test_evaluate_fomm_writes_everything(video: Path, tmp_path: Path) -> None:
    folder, sheet = str(tmp_path), tmp_path / "sheet.png"
    common = ["--zoo", str(ZOO), "--clips", str(video), "--out", folder, "--every", "4", "--threads", "1"]
    main(["evaluate", "fomm", "--model", str(ZOO / "fomm-lite"), *common, "--sheet", str(sheet)])
    results = json.loads((tmp_path / "results.json").read_text())
    model, copy = results["overall"]["model"], results["overall"]["copy"]
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
    video: Path, portrait: np.ndarray, finder: FaceFinder, tmp_path: Path
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
