"""Training a tiny motion model: it learns, goes on exactly, and is exported as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
onnxruntime = pytest.importorskip("onnxruntime", reason="only in the training environment")
for package in ("cv2", "matplotlib", "rich"):
    pytest.importorskip(package, reason="only in the training environment (requirements.txt)")

from fomm_faces import NoExpressions, position_stills  # noqa: E402

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.checkpoint import load_fomm  # noqa: E402
from deepfake_train.convert_fomm import fomm_graphs  # noqa: E402
from deepfake_train.fomm import PRESETS, Fomm, Keypoints  # noqa: E402
from deepfake_train.random_fomm import random_fomm  # noqa: E402
from deepfake_train.training.fomm import trainer  # noqa: E402
from deepfake_train.training.fomm.clips import write_views  # noqa: E402
from deepfake_train.training.fomm.expression_reader import ExpressionReader  # noqa: E402
from deepfake_train.training.fomm.losses import LossOptions, LossWeights  # noqa: E402
from deepfake_train.training.fomm.pairs import Pairs, augmented  # noqa: E402
from deepfake_train.training.fomm.synthesis import PairSynthesis  # noqa: E402
from deepfake_train.training.fomm.trainer import FommOptions, FommTraining, Renewed, _shares  # noqa: E402
from deepfake_train.training.fomm.weights import renewed, save_fomm  # noqa: E402
from deepfake_train.training.loop import Schedule, run  # noqa: E402

SIZE = 64


ANCHORS = {0: 13, 2: 159}


def _training(
    weights: LossWeights,
    *,
    frozen: bool = False,
    frozen_detector: bool = False,
    frozen_motion: bool = False,
    anchors: Mapping[int, int] | None = None,
    renew: tuple[int, ...] = (),
    model: Fomm | None = None,
    reader: ExpressionReader | None = None,
) -> FommTraining:
    torch.manual_seed(0)
    model = Fomm(PRESETS["tiny"]) if model is None else model
    began = Renewed(renew, model.keypoint_detector) if renew else None
    synthesis = PairSynthesis(position_stills(2), NoExpressions(), SIZE, grid=16)
    held_out = synthesis.batch(3, torch.Generator().manual_seed(9))
    options = FommOptions(
        batch=2,
        seed=4,
        losses=LossOptions(weights=weights, anchors=ANCHORS if anchors is None else anchors),
        average=0.9,
        frozen_norms=frozen,
        frozen_painter=frozen,
        frozen_detector=frozen_detector,
        frozen_motion=frozen_motion,
    )
    return FommTraining(renewed(model, renew), [(synthesis, 1.0)], held_out, options, None, began, reader)


WITHOUT_FEATURES = LossWeights(perceptual=0, parts=0, detail=5.0, keypoints=5.0, heat=1.0)
MOTION = LossWeights(perceptual=0, parts=0, picture=0, part_picture=0, warp=5.0)
NOTHING = dict.fromkeys((*LossWeights.__annotations__,), 0.0)
SEEN = LossWeights(**NOTHING | {"landmarks": 1.0, "openings": 2.0})
FACEMESH = Path(__file__).parents[2] / "zoo" / "facemesh"
WITH_ADVERSARY = LossWeights(perceptual=0, parts=0, adversarial=1.0, features=1.0)


def _bits(training: FommTraining) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}

    def walk(prefix: str, value: Any) -> None:  # noqa: ANN401 - a tree of plain data
        if isinstance(value, torch.Tensor):
            found[prefix] = value
        elif isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}/{key}", inner)

    walk("", training.state_dict())
    return found


def test_the_loss_falls(tmp_path: Path) -> None:
    training = _training(WITHOUT_FEATURES)
    schedule = Schedule(steps=20, rate=3e-3, warm_up=2, log_every=1, save_every=100, sample_every=100)
    assert run(training, tmp_path, schedule, {}) == 20
    table = np.genfromtxt(tmp_path / "losses.csv", delimiter=",", names=True)
    assert table["total"][-5:].mean() < 0.9 * table["total"][:5].mean()
    assert (tmp_path / "samples" / "0000020.png").exists()


@pytest.mark.parametrize(
    ("weights", "renew"),
    [(WITHOUT_FEATURES, ()), (WITH_ADVERSARY, ()), (replace(WITHOUT_FEATURES, keep=10.0), (0,))],
    ids=["plain", "adversarial", "begun anew"],
)
def test_going_on_gives_the_same_bits(tmp_path: Path, weights: LossWeights, renew: tuple[int, ...]) -> None:
    schedule = Schedule(steps=4, rate=1e-3, save_every=2, sample_every=100)
    whole, stopped = _training(weights, renew=renew), _training(weights, renew=renew)
    run(whole, tmp_path / "whole", schedule, {})
    for step in range(2):
        stopped.step(step, schedule.learning_rate(step))
    # through the file that a run keeps, and its reader
    torch.save({"step": 2, "training": stopped.state_dict()}, tmp_path / "checkpoint.pt")
    resumed = _training(weights, renew=renew)
    assert run(resumed, tmp_path, schedule, {}) == 4
    first, second = _bits(whole), _bits(resumed)
    assert len(first) > 100
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("weights", [MOTION, WITHOUT_FEATURES], ids=["motion", "painted"])
def test_what_is_frozen_stays(weights: LossWeights) -> None:
    training = _training(weights, frozen=True)
    before = {k: v.clone() for k, v in training.generator.state_dict().items()}
    training.step(0, 1e-3)
    after = training.generator.state_dict()
    moved = {key for key in after if not torch.equal(before[key], after[key])}
    assert "dense_motion_network.mask.weight" in moved
    assert all(key.startswith("dense_motion_network.") and "running" not in key for key in moved)


def test_a_frozen_detector_stays_and_all_else_learns() -> None:
    weights = LossWeights(perceptual=0, parts=0, equivariance=0, frames=0)
    training = _training(weights, frozen_detector=True)
    before = _bits(training)
    before = {k: v.clone() for k, v in before.items()}
    training.step(0, 1e-3)
    after = _bits(training)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    networks = {key.split("/")[2] for key in moved if key.startswith("/networks/")}
    assert networks == {"generator"}
    assert "/networks/generator/dense_motion_network.mask.weight" in moved
    assert "/networks/generator/final.weight" in moved


def test_frozen_motion_stays_and_what_paints_learns() -> None:
    weights = LossWeights(
        perceptual=0, parts=0, structure=5.0, equivariance=0, frames=0, flow=0, gaps=0, warp=0, turns=0
    )
    training = _training(weights, frozen_motion=True)
    before = {k: v.clone() for k, v in _bits(training).items()}
    training.step(0, 1e-3)
    after = _bits(training)
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    of_motion = "/networks/generator/dense_motion_network."
    assert {key for key in moved if key.startswith(of_motion)} == {
        f"{of_motion}occlusion.weight",
        f"{of_motion}occlusion.bias",
    }
    assert not any(key.startswith("/networks/kp_detector") for key in moved)
    assert {"/networks/generator/final.weight", "/networks/generator/first.conv.weight"} <= moved


def test_what_facemesh_sees_is_asked_of_the_finished_picture() -> None:
    with pytest.raises(ValueError, match="need FaceMesh"):
        _training(SEEN)
    training = _training(SEEN, frozen_detector=True, reader=ExpressionReader(FACEMESH))
    before = {name: tensor.clone() for name, tensor in training.generator.state_dict().items()}
    reader = {name: tensor.clone() for name, tensor in training.reader.state_dict().items()}
    terms = [training.step(number, 1e-3) for number in range(8)]
    assert set(terms[0]) == {"landmarks", "openings", "total", "gradient"}
    assert terms[0]["total"] == pytest.approx(terms[0]["landmarks"] + terms[0]["openings"], rel=1e-5)
    assert all(torch.equal(tensor, reader[name]) for name, tensor in training.reader.state_dict().items())
    after = training.generator.state_dict()
    for part in ("dense_motion_network.mask.weight", "final.weight"):
        assert not torch.equal(after[part], before[part]), part


def test_anchors_are_never_asked_for_on_both_sides_of_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def spy(pairs: Pairs, generator: torch.Generator, *, mirrored: bool) -> Pairs:
        seen.append(mirrored)
        return augmented(pairs, generator, mirrored=mirrored)

    monkeypatch.setattr(trainer, "augmented", spy)
    _training(WITHOUT_FEATURES).step(0, 1e-3)
    _training(replace(WITHOUT_FEATURES, keypoints=0, heat=0), anchors={}).step(0, 1e-3)
    assert seen == [False, True]


def test_key_points_begun_anew_do_nothing_yet_and_leave_the_others_as_they_were() -> None:
    torch.manual_seed(0)
    before = Fomm(PRESETS["tiny"])
    after = renewed(before, [1])
    picture, small = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        known, found = before.keypoint_detector(picture), after.keypoint_detector(picture)
        for a, b in zip(known, found, strict=True):
            torch.testing.assert_close(a[:, [0, 2]], b[:, [0, 2]])
        torch.testing.assert_close(found.value[0, 1], torch.zeros(2))  # anywhere, thus in the middle
        torch.testing.assert_close(found.jacobian[0, 1], torch.eye(2))
        elsewhere = Keypoints(found.value.clone(), found.jacobian.clone())
        elsewhere.value[0, 1], elsewhere.jacobian[0, 1] = 0.7, 3 * torch.eye(2)
        motions = [after.generator.dense_motion_network(small, found, moved) for moved in (found, elsewhere)]
        # wherever it is, nothing is concluded from it; its own candidate moves by its share alone
        torch.testing.assert_close(motions[0].mask, motions[1].mask)
        torch.testing.assert_close(motions[0].occlusion, motions[1].occlusion)
        assert not torch.equal(motions[0].flow, motions[1].flow)


def test_key_points_that_are_kept_are_where_they_were_until_they_are_moved() -> None:
    training = _training(replace(WITHOUT_FEATURES, keep=10.0), frozen=True, renew=(0,))
    terms = training.step(0, 1e-2)
    assert terms["keep"] == pytest.approx(0, abs=1e-5)
    assert training.step(1, 1e-3)["keep"] > 1e-3
    with pytest.raises(ValueError, match="begun anew"):
        _training(replace(WITHOUT_FEATURES, keep=10.0))


def test_idle_key_points_are_told_by_their_share_of_the_mask() -> None:
    model = Fomm(PRESETS["tiny"])
    bias = model.generator.dense_motion_network.mask.bias
    assert bias is not None
    with torch.no_grad():
        bias[2] -= 50  # the background is first
    shares = _training(WITHOUT_FEATURES, model=model).mask_shares()
    assert len(shares) == 4
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert shares[2] < 1e-6 < min(shares[0], shares[1], shares[3])


def test_shares_are_whole_and_add_up() -> None:
    assert _shares([(None, 0.6), (None, 0.4)], 8) == [5, 3]
    assert _shares([(None, 1.0), (None, 1.0), (None, 1.0)], 8) == [3, 2, 3]


def test_what_was_trained_is_exported(tmp_path: Path) -> None:
    training = _training(WITHOUT_FEATURES)
    for step in range(2):
        training.step(step, 1e-3)
    save_fomm(training.averaged(), tmp_path / "fomm.pt")
    model = load_fomm(tmp_path / "fomm.pt", align_corners=True)
    graphs = fomm_graphs(model)
    picture = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    other = picture.flip(-1)

    def graph(role: str, **inputs: torch.Tensor) -> list[torch.Tensor]:
        session = onnxruntime.InferenceSession(
            graphs[role].SerializeToString(), providers=["CPUExecutionProvider"]
        )
        found = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
        return [torch.from_numpy(tensor) for tensor in found]

    with torch.no_grad():
        source, driving = model.keypoint_detector(picture), model.keypoint_detector(other)
        wanted = model.generator(picture, source, driving)
    value, jacobian = graph("keypoints", image=picture)
    torch.testing.assert_close(value, source.value, atol=1e-4, rtol=0)
    torch.testing.assert_close(jacobian, source.jacobian, atol=1e-4, rtol=0)
    features, small = graph("encoder", source=picture)
    (made,) = graph(
        "generator",
        features=features,
        small=small,
        source_value=source.value,
        source_jacobian=source.jacobian,
        driving_value=driving.value,
        driving_jacobian=driving.jacobian,
    )
    torch.testing.assert_close(made, wanted, atol=1e-4, rtol=0)


def test_the_command_trains_on_clips_and_goes_on(tmp_path: Path) -> None:
    synthesis = PairSynthesis(position_stills(2), NoExpressions(), SIZE, grid=16)
    list(write_views(synthesis, tmp_path / "clips", pairs=2, seed=0))
    command = [
        *("train", "fomm", "--out", str(tmp_path / "run"), "--preset", "tiny", "--size", str(SIZE)),
        *("--clips", str(tmp_path / "clips"), "--batch", "2", "--steps", "2", "--warm-up", "1"),
        *("--weight", "perceptual=0", "--weight", "parts=0", "--weight", "keypoints=1", "--anchor", "1=13"),
    ]
    main(command)
    main(command)  # there is nothing left to do
    model = load_fomm(tmp_path / "run" / "fomm-fp16.pt", align_corners=True)
    assert model.config == PRESETS["tiny"]
    with pytest.raises(SystemExit):
        main([*command[:-1], "thirteen"])


def test_the_command_begins_key_points_anew_and_tells_the_idle_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    synthesis = PairSynthesis(position_stills(2), NoExpressions(), SIZE, grid=16)
    list(write_views(synthesis, tmp_path / "clips", pairs=2, seed=0))
    save_fomm(random_fomm(PRESETS["tiny"], 0), tmp_path / "start.pt")
    main(
        [
            *("train", "fomm", "--out", str(tmp_path / "run"), "--preset", "tiny", "--size", str(SIZE)),
            *("--clips", str(tmp_path / "clips"), "--batch", "2", "--steps", "1", "--warm-up", "1"),
            *("--weight", "perceptual=0", "--weight", "parts=0", "--start", str(tmp_path / "start.pt")),
            *("--renew", "2", "--renew", "0"),
        ]
    )
    assert json.loads((tmp_path / "run" / "settings.json").read_text())["renew"] == [0, 2]
    assert "% that move with key-point 0: " in capsys.readouterr().out


def _blend(folder: Path, *options: str) -> tuple[Fomm, Fomm, Fomm]:
    """Two random models, and what the command makes of them."""
    files = [folder / f"{name}.pt" for name in (1, 2, 3)]
    for seed, file in enumerate(files[:2], 1):
        torch.manual_seed(seed)
        save_fomm(Fomm(PRESETS["tiny"]), file)
    main(["blend", str(files[0]), str(files[1]), "--out", str(files[2]), *options])
    first, second, made = (load_fomm(file, align_corners=True) for file in files)
    return first, second, made


def test_blended_weights_lie_between(tmp_path: Path) -> None:
    first, second, made = _blend(tmp_path, "--motion", "0.25", "--painter", "1")
    for weight, part in (
        (lambda model: model.keypoint_detector.kp.weight, 0.25),
        (lambda model: model.generator.dense_motion_network.mask.weight, 0.25),
        (lambda model: model.generator.final.weight, 1.0),
    ):
        wanted = weight(first) + part * (weight(second) - weight(first))
        torch.testing.assert_close(weight(made), wanted, atol=1e-3, rtol=0)


def test_key_points_that_are_kept_are_not_blended(tmp_path: Path) -> None:
    first, second, made = _blend(tmp_path, "--motion", "1", "--keep", "1")
    # of three key-points the second: its heat, its frame, its part of the mask, and what reads it
    for weight, place in (
        (lambda model: model.keypoint_detector.kp.bias, 1),
        (lambda model: model.keypoint_detector.jacobian.weight, slice(4, 8)),
        (lambda model: model.generator.dense_motion_network.mask.weight, 2),
        (
            lambda model: model.generator.dense_motion_network.hourglass.encoder.down_blocks[
                0
            ].conv.weight.transpose(0, 1),
            slice(8, 12),
        ),
    ):
        wanted = weight(second).clone()
        wanted[place] = weight(first)[place]
        torch.testing.assert_close(weight(made), wanted, atol=0, rtol=0)
    with pytest.raises(ValueError, match="key-points are 0 to 2, and 3 is none of them"):
        _blend(tmp_path, "--keep", "3")
