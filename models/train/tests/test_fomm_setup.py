"""What ``train fomm`` makes of its files and options: settings that tell runs apart, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
for package in ("cv2", "matplotlib", "rich"):
    pytest.importorskip(package, reason="only in the training environment (requirements.txt)")

import cv2  # noqa: E402
from fomm_faces import SIDE, NoExpressions, position_stills  # noqa: E402

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.fomm import PRESETS  # noqa: E402
from deepfake_train.random_fomm import random_fomm  # noqa: E402
from deepfake_train.training.clips import FRAMES, NoClipsError, all_clips  # noqa: E402
from deepfake_train.training.fomm import clips as clips_module  # noqa: E402
from deepfake_train.training.fomm import setup  # noqa: E402
from deepfake_train.training.fomm.clips import ViewsMismatchError, claim_views, write_views  # noqa: E402
from deepfake_train.training.fomm.expressions import HABITS, Expressions, ShapesError  # noqa: E402
from deepfake_train.training.fomm.losses import LossOptions, LossWeights  # noqa: E402
from deepfake_train.training.fomm.setup import FommRun, prepare  # noqa: E402
from deepfake_train.training.fomm.stills import POINT_OFFSET, POINT_UNITS  # noqa: E402
from deepfake_train.training.fomm.synthesis import PairSynthesis  # noqa: E402
from deepfake_train.training.fomm.trainer import FommOptions  # noqa: E402
from deepfake_train.training.fomm.weights import save_fomm  # noqa: E402
from deepfake_train.training.landmarks import POINTS  # noqa: E402

SIZE = 32
NO_FEATURES = LossWeights(perceptual=0, parts=0)


def write_stills(path: Path, count: int) -> Path:
    """A pack as ``prepare stills`` makes it."""
    stills = position_stills(count)
    pictures = stills.pictures.permute(0, 2, 3, 1).numpy()[..., ::-1]
    encoded = [cv2.imencode(".png", np.ascontiguousarray(picture))[1].ravel() for picture in pictures]
    np.savez(
        path,
        data=np.concatenate(encoded),
        off=np.cumsum([0, *map(len, encoded)]),
        lm=((stills.points.numpy() + POINT_OFFSET) * POINT_UNITS).round().astype(np.uint16),
        s=stills.scale.numpy(),
        R=stills.rotation.numpy(),
        t=stills.shift.numpy(),
        euler=np.zeros((count, 3), np.float32),
        test=np.zeros(count, bool),
        tri=stills.triangles.numpy(),
        size=SIDE,
    )
    return path


def write_expressions(path: Path, reach: float = 0.0) -> Path:
    """All the shapes that are drawn from."""
    np.savez(path, names=np.array(list(HABITS)), expr=np.full((len(HABITS), POINTS, 3), reach, np.float32))
    return path


def write_clip(folder: Path) -> Path:
    """Two frames of nothing."""
    folder.mkdir(parents=True)
    np.save(folder / FRAMES, np.zeros((2, SIZE, SIZE, 3), np.uint8))
    np.save(folder / "landmarks.npy", np.zeros((2, POINTS, 2), np.float32))
    return folder


def write_vgg(path: Path, value: float) -> Path:
    """The first two blocks of VGG-16."""
    widths = (3, 64, 64, 128, 128)
    weights = {f"w{i}": np.full((widths[i + 1], widths[i], 3, 3), value, np.float32) for i in range(4)}
    np.savez(path, **weights, **{f"b{i}": np.zeros(widths[i + 1], np.float32) for i in range(4)})
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FommRun:
    """Of portraits and their views, which are computed coarsely."""
    monkeypatch.setattr(setup, "PairSynthesis", partial(PairSynthesis, grid=16))
    return FommRun(
        options=FommOptions(batch=2, seed=1, losses=LossOptions(weights=NO_FEATURES)),
        preset="tiny",
        size=SIZE,
        stills=write_stills(tmp_path / "faces.npz", 8),
        expressions=write_expressions(tmp_path / "shapes.npz"),
        views=tmp_path / "views",
    )


@pytest.mark.parametrize("loss", ["landmarks", "openings"])
def test_losses_on_what_facemesh_sees_want_facemesh(loss: str) -> None:
    options = FommOptions(2, 0, LossOptions(replace(NO_FEATURES, **{loss: 1.0})))
    with pytest.raises(SystemExit, match="--facemesh"):
        prepare(FommRun(options=options, preset="tiny", size=SIZE))


def test_without_shapes_of_expressions_only_eyes_move(run: FommRun) -> None:
    prepare(replace(run, expressions=None, views=None))
    drawn = Expressions(None, torch.device("cpu")).draw(40, torch.Generator().manual_seed(1))
    assert drawn.moves.abs().max() == 0
    assert drawn.blink.max() > 0.8
    assert drawn.gaze.abs().max() > 0.1


@pytest.mark.parametrize(
    ("names", "shape", "said"),
    [
        (list(HABITS)[1:], (len(HABITS) - 1, POINTS, 3), "neither jawOpen nor jawOpen_L and jawOpen_R"),
        (list(HABITS), (len(HABITS), POINTS, 2), r"18 names for shapes \(18, 468, 2\)"),
        (None, (1, POINTS, 3), "no names"),
    ],
    ids=["a shape is missing", "flat", "without names"],
)
def test_what_are_no_shapes_of_expressions_is_said(
    tmp_path: Path, names: list[str] | None, shape: tuple[int, ...], said: str
) -> None:
    arrays = {"expr": np.zeros(shape, np.float32)} | ({} if names is None else {"names": np.array(names)})
    np.savez(tmp_path / "shapes.npz", **arrays)
    with pytest.raises(ShapesError, match=said):
        Expressions(tmp_path / "shapes.npz", torch.device("cpu"))


def with_losses(run: FommRun, losses: LossOptions) -> FommRun:
    return replace(run, options=replace(run.options, losses=losses))


def test_views_are_kept_and_gone_on_with(run: FommRun) -> None:
    assert run.views is not None
    prepare(run)
    assert len(all_clips([run.views])) == 7  # one is held out
    made = (run.views / "00000" / FRAMES).stat().st_mtime_ns
    (run.views / "00001" / FRAMES).unlink()
    prepare(run)
    assert len(all_clips([run.views])) == 7
    assert (run.views / "00000" / FRAMES).stat().st_mtime_ns == made


def test_views_of_something_else_are_refused(run: FommRun, tmp_path: Path) -> None:
    prepare(run)
    for changed in (
        replace(run, size=2 * SIZE),
        replace(run, options=replace(run.options, seed=2)),
        replace(run, stills=write_stills(tmp_path / "other-faces.npz", 9)),
        replace(run, expressions=write_expressions(tmp_path / "other-shapes.npz", 0.1)),
    ):
        with pytest.raises(ViewsMismatchError, match="made from something else"):
            prepare(changed)


def test_views_of_which_nothing_is_known_are_refused(tmp_path: Path) -> None:
    write_clip(tmp_path / "00000")
    with pytest.raises(ViewsMismatchError, match=r"no views\.json says"):
        claim_views(tmp_path, {"size": SIZE})


def test_views_that_were_not_written_to_the_end_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesis = PairSynthesis(position_stills(1), NoExpressions(), SIZE, grid=16)
    saved = np.save

    def end_early(where: object, array: np.ndarray) -> None:
        if array.dtype == np.uint8:
            if isinstance(where, Path):
                where.write_bytes(b"half of")
            raise KeyboardInterrupt
        saved(where, array)

    monkeypatch.setattr(clips_module.np, "save", end_early)
    with pytest.raises(KeyboardInterrupt):
        list(write_views(synthesis, tmp_path, pairs=1, seed=0))
    monkeypatch.undo()
    (folder,) = write_views(synthesis, tmp_path, pairs=1, seed=0)
    assert np.load(folder / FRAMES).shape == (2, SIZE, SIZE, 3)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        (LossOptions(), "need --vgg"),
        (LossOptions(weights=replace(NO_FEATURES, heat=1.0)), "need --anchor"),
        (LossOptions(weights=NO_FEATURES, anchors={99: 13}), "--anchor 99=13: key-points are 0 to 2"),
        (LossOptions(weights=NO_FEATURES, anchors={-1: 13}), "--anchor -1=13: key-points are 0 to 2"),
        (LossOptions(weights=NO_FEATURES, anchors={0: 468}), "FaceMesh points are 0 to 467"),
        (LossOptions(weights=NO_FEATURES, anchors={0: 13}), "does nothing without"),
        (LossOptions(weights=replace(NO_FEATURES, features=5.0)), "needs --weight adversarial"),
    ],
    ids=["vgg", "heat", "key-point", "negative", "point", "anchor", "features"],
)
def test_losses_are_checked_before_views_are_made(run: FommRun, losses: LossOptions, message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        prepare(with_losses(run, losses))
    assert run.views is not None
    assert not run.views.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"renew": (3,)}, "--renew 3: key-points are 0 to 2"),
        ({"renew": (0,)}, "about the key-points of --start"),
        ({}, "beside those of --renew"),
        ({"renew": (0, 1, 2), "start": Path("start.pt")}, "no key-point is left"),
        ({"renew": (0,), "start": Path("start.pt")}, "needs --frozen-norms"),
    ],
    ids=["number", "no start", "nothing anew", "all anew", "norms"],
)
def test_what_is_begun_anew_is_checked(run: FommRun, change: dict[str, Any], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        prepare(replace(with_losses(run, LossOptions(weights=replace(NO_FEATURES, keep=1.0))), **change))


def test_key_points_begun_anew_have_to_be_trained(run: FommRun) -> None:
    weights = replace(NO_FEATURES, equivariance=0, frames=0)
    detector = replace(run.options, frozen_detector=True, losses=LossOptions(weights=weights))
    without = LossOptions(weights=replace(weights, flow=0, gaps=0))
    motion = replace(run.options, frozen_motion=True, losses=without)
    for options, option in ((detector, "detector"), (motion, "motion")):
        with pytest.raises(SystemExit, match=f"--frozen-{option} would leave the key-points of --renew"):
            prepare(replace(run, options=options, start=Path("start.pt"), renew=(0,)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frozen_detector": True}, "losses on key-points to change: .*equivariance=0 --weight frames=0"),
        ({"frozen_motion": True}, "losses on motion to change: .*frames=0 --weight flow=0 --weight gaps=0"),
        ({"frozen_motion": True, "frozen_painter": True}, "leave nothing to train"),
    ],
    ids=["detector", "motion", "all"],
)
def test_what_is_frozen_is_not_asked_to_change(run: FommRun, change: dict[str, bool], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        prepare(replace(run, options=replace(run.options, **change)))


def test_key_points_are_begun_anew(run: FommRun, tmp_path: Path) -> None:
    start = tmp_path / "start.pt"
    save_fomm(random_fomm(PRESETS["tiny"], 0), start)
    training, settings = prepare(replace(run, start=start, renew=(2, 1, 2)))
    assert settings["renew"] == [1, 2]
    assert not training.detector.kp.weight[1:].any()
    assert training.detector.kp.weight[0].any()


@pytest.mark.parametrize("name", ["start", "vgg", "clips"])
def test_files_are_looked_for_before_views_are_made(run: FommRun, tmp_path: Path, name: str) -> None:
    lost = tmp_path / "lost"
    changed = with_losses(run, LossOptions()) if name == "vgg" else run
    with pytest.raises((FileNotFoundError, NoClipsError), match="lost"):
        prepare(replace(changed, **{name: (lost,) if name == "clips" else lost}))
    assert run.views is not None
    assert not run.views.exists()


def test_too_few_portraits_are_told(run: FommRun, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"few\.npz: 7 portraits.* too few to hold any out"):
        prepare(replace(run, stills=write_stills(tmp_path / "few.npz", 7)))


def test_a_folder_without_clips_is_refused_beside_one_with_clips(tmp_path: Path) -> None:
    write_clip(tmp_path / "good" / "talker")
    (tmp_path / "empty").mkdir()
    assert all_clips([tmp_path / "good"]) == [tmp_path / "good" / "talker"]
    with pytest.raises(NoClipsError, match=r"no clips below .*empty, .*misspelt$"):
        all_clips([tmp_path / "good", tmp_path / "empty", tmp_path / "misspelt"])


def test_settings_tell_clips_of_one_name_apart(run: FommRun, tmp_path: Path) -> None:
    for name in ("one/train/a-000", "two/train/a-000"):
        write_clip(tmp_path / name)
    clips_alone = replace(run, stills=None, views=None)
    _, settings = prepare(replace(clips_alone, clips=(tmp_path / "one", tmp_path / "two" / "train")))
    assert settings["clips"] == ["one/train/a-000", "train/a-000"]


def test_settings_tell_other_weights_of_vgg(run: FommRun, tmp_path: Path) -> None:
    write_clip(tmp_path / "clips" / "a")
    clips_alone = replace(run, stills=None, views=None, clips=(tmp_path / "clips",))
    losses = LossOptions(weights=replace(NO_FEATURES, parts=1.0), depth=2, part_depth=2)
    digests = set()
    for value in (0.0, 0.1):
        vgg = write_vgg(tmp_path / "vgg.npz", value)
        digests.add(prepare(with_losses(replace(clips_alone, vgg=vgg), losses))[1]["vgg"])
    assert len(digests) == 2
    assert None not in digests
    # where nothing looks at its features it makes no difference
    assert prepare(replace(clips_alone, vgg=tmp_path / "vgg.npz"))[1]["vgg"] is None


@pytest.mark.parametrize(
    ("given", "kept"), [([], None), (["--half"], True), (["--no-half"], False)], ids=["left out", "on", "off"]
)
def test_half_is_kept_in_the_settings_as_it_was_given(
    tmp_path: Path, given: list[str], kept: bool | None
) -> None:
    write_clip(tmp_path / "clips" / "a")
    main(
        [
            *("train", "fomm", "--out", str(tmp_path / "run"), "--preset", "tiny", "--size", "64", *given),
            *("--clips", str(tmp_path / "clips"), "--batch", "1", "--steps", "0"),
            *("--weight", "perceptual=0", "--weight", "parts=0"),
        ]
    )
    settings = json.loads((tmp_path / "run" / "settings.json").read_text(encoding="utf-8"))
    assert settings["options"]["half"] is kept
