"""The classifier's training at tiny size: losses, resumption, graphs, calibration."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
for package in ("cv2", "matplotlib", "onnx", "rich"):
    pytest.importorskip(package, reason="only in the training environment (requirements.txt)")

import onnx  # noqa: E402
from drawn_face import face  # noqa: E402

from deepfake_train import manifest  # noqa: E402
from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.convert_fwa import convert_fwa  # noqa: E402
from deepfake_train.evaluation.classification import calibration as reliability  # noqa: E402
from deepfake_train.fakes import MILD  # noqa: E402
from deepfake_train.fakes.pack import Face, write_pack  # noqa: E402
from deepfake_train.fakes.prepared import REAL  # noqa: E402
from deepfake_train.fakes.reenacted import FAMILY  # noqa: E402
from deepfake_train.measure import session  # noqa: E402
from deepfake_train.networks.mobilenet import (  # noqa: E402
    PRESETS,
    MobileNet,
    load_graph,
    load_trunk,
    mobilenet_graph,
)
from deepfake_train.training.calibration import calibrate, sigmoid  # noqa: E402
from deepfake_train.training.fwa import FwaSettings, FwaTraining  # noqa: E402
from deepfake_train.training.fwa_data import Faces, Sources, held_out, make_batch  # noqa: E402
from deepfake_train.training.loop import Schedule, StoppedError, run  # noqa: E402

STEPS = 8


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Eight drawn faces, and the same ones blurred as what an animator would have made."""
    folder = tmp_path_factory.mktemp("faces")
    splits = ["train"] * 6 + ["val"] * 2
    faces = [face(seed) for seed in range(8)]
    write_pack(
        folder / "real", [(f, split, str(n)) for n, (f, split) in enumerate(zip(faces, splits, strict=True))]
    )
    pairs: list[tuple[Face, str, str]] = []
    for number, (drawn, split) in enumerate(zip(faces, splits, strict=True)):
        soft = drawn.picture // 2 + 60
        pairs.append((drawn._replace(source=REAL), split, str(number)))
        pairs.append((drawn._replace(picture=soft, source=FAMILY), split, str(number)))
    write_pack(folder / "reenacted", pairs, quality=None)
    return Sources(((folder / "real", 1.0),), (folder / "reenacted",))


def settings(sources: Sources, **changes: object) -> FwaSettings:
    return FwaSettings(sources, **{"preset": "tiny", "batch": 8, "average": 0.5, **changes})


def random_network(*, norm: bool, seed: int = 0) -> MobileNet:
    """With batch norms that do something."""
    torch.manual_seed(seed)
    network = MobileNet(PRESETS["tiny"], norm=norm).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return network


def scores(graph: onnx.ModelProto, pictures: np.ndarray) -> np.ndarray:
    return session(graph.SerializeToString(), 1).run(["logit"], {"input": pictures})[0]


@pytest.mark.parametrize("norm", [False, True])
def test_graph_equals_pytorch(norm: bool) -> None:
    network = random_network(norm=norm)
    pictures = np.random.default_rng(0).normal(size=(3, 3, 48, 48)).astype(np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(pictures)).numpy()
    assert np.abs(scores(mobilenet_graph(network), pictures) - expected).max() < 1e-4
    scaled = scores(mobilenet_graph(network, scale=0.5, offset=0.25), pictures)
    assert np.abs(scaled - (0.5 * expected + 0.25)).max() < 1e-4


def test_a_graph_is_gone_on_from_without_its_batch_norms(tmp_path: Path) -> None:
    trained = random_network(norm=True)
    onnx.save(mobilenet_graph(trained), tmp_path / "a.onnx")
    network = MobileNet(PRESETS["tiny"], norm=False).eval()
    load_graph(network, tmp_path / "a.onnx")
    picture = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(network(picture), trained(picture), atol=1e-4)
    with pytest.raises(ValueError, match="not a graph of this shape"):
        load_graph(MobileNet(PRESETS["full"], norm=False), tmp_path / "a.onnx")
    with pytest.raises(ValueError, match="batch norms"):
        load_graph(trained, tmp_path / "a.onnx")


def test_a_trunk_is_loaded_by_order(tmp_path: Path) -> None:
    trained = random_network(norm=True)
    state = trained.features.state_dict()
    arrays = [tensor.numpy() for key, tensor in state.items() if "num_batches" not in key]
    np.savez(tmp_path / "trunk.npz", *arrays)
    network = MobileNet(PRESETS["tiny"], norm=True)
    load_trunk(network, tmp_path / "trunk.npz")
    for key, tensor in network.features.state_dict().items():
        assert "num_batches" in key or torch.equal(tensor, state[key])
    np.savez(tmp_path / "short.npz", *arrays[:-1])
    with pytest.raises(ValueError, match="not the weights of a trunk"):
        load_trunk(network, tmp_path / "short.npz")


def test_frozen_layers_stay_and_the_others_learn(sources: Sources) -> None:
    training = FwaTraining(settings(sources, frozen=2))
    before = [layer.state_dict() for layer in training.network.features]
    before = [{key: tensor.clone() for key, tensor in state.items()} for state in before]
    training.step(0, 1e-2)
    changed = [
        # statistics of norms are part of the state, and no parameters
        any(not torch.equal(state[key], tensor) for key, tensor in layer.state_dict().items())
        for layer, state in zip(training.network.features, before, strict=True)
    ]
    assert changed[:2] == [False, False]
    assert all(changed[2:])


def test_loss_falls_and_the_graph_is_that_of_the_averaged_weights(sources: Sources, tmp_path: Path) -> None:
    # the family that is told apart most easily, in pictures that are new in every step
    easy = replace(sources, shares={"fwa": 0.0, "reposed": 0.0, "self_blended": 0.0, "reenacted": 1.0})
    training = FwaTraining(settings(easy, batch=32))
    schedule = Schedule(30, 3e-3, log_every=1, save_every=100, sample_every=100)
    assert run(training, tmp_path, schedule, {}) == 30
    table = np.genfromtxt(tmp_path / "losses.csv", delimiter=",", names=True)
    assert table["total"][-10:].mean() < 0.7 * table["total"][0]
    assert table["right"][-10:].mean() > 0.75
    report = training.finish(tmp_path, count=4)
    written = json.loads((tmp_path / "held-out.json").read_text(encoding="utf-8"))
    assert written == report
    assert 0 < report["uncertain from"] <= report["threshold"] < 1
    assert set(report["mild"]) == {"false alarms", "calibration error", *Faces(sources, "val").shares}
    # of both strengths: what comes from the net went through more than what a camera gives
    coming = held_out(easy, 4, 48, (MILD, 1.0), plain=True)
    wanted = calibrate(training.logits(coming.pictures), coming.fake)
    assert report["calibration"] == pytest.approx({"scale": wanted.scale, "offset": wanted.offset})
    held = held_out(sources, 2, 48)
    graph = onnx.load(tmp_path / "fwa-lite.onnx")
    planes = (held.pictures[..., ::-1].transpose(0, 3, 1, 2) / 255).astype(np.float32)
    mean, deviation = (np.float32(v).reshape(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    produced = scores(graph, ((planes - mean) / deviation).astype(np.float32))[:, 0]
    by_hand = (
        report["calibration"]["scale"] * training.logits(held.pictures) + report["calibration"]["offset"]
    )
    assert np.abs(produced - by_hand).max() < 1e-3


def test_weights_are_blended_with_those_of_a_graph(sources: Sources, tmp_path: Path) -> None:
    onnx.save(mobilenet_graph(random_network(norm=False, seed=5)), tmp_path / "a.onnx")
    training = FwaTraining(settings(sources, start=tmp_path / "a.onnx"))
    first = {key: tensor.clone() for key, tensor in training.network.state_dict().items()}
    training.step(0, 1e-2)
    trained = {key: tensor.clone() for key, tensor in training.averaged().state_dict().items()}
    training.blend(tmp_path / "a.onnx", 0.25)
    for key, tensor in training.averaged().state_dict().items():
        assert torch.allclose(tensor, 0.75 * trained[key] + 0.25 * first[key], atol=1e-6)


def test_going_on_is_exact_to_the_bit(sources: Sources, tmp_path: Path) -> None:
    schedule = {"rate": 1e-3, "warm_up": 2, "save_every": 3, "sample_every": 100, "log_every": 2}
    whole, parts = FwaTraining(settings(sources)), FwaTraining(settings(sources))
    run(whole, tmp_path / "whole", Schedule(STEPS, **schedule), {})
    first = FwaTraining(settings(sources))
    step = first.step

    def asked_to_stop(number: int, learning_rate: float) -> dict[str, float]:
        if number == 4:
            signal.raise_signal(signal.SIGINT)
        return step(number, learning_rate)

    first.step = asked_to_stop
    with pytest.raises(StoppedError, match="step 5 of"):
        run(first, tmp_path / "parts", Schedule(STEPS, **schedule), {})
    run(parts, tmp_path / "parts", Schedule(STEPS, **schedule), {})
    for kind in ("network", "average"):
        expected, found = (training.state_dict()[kind] for training in (whole, parts))
        if kind == "average":
            expected, found = expected["average"], found["average"]
        assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert (tmp_path / "whole" / "samples" / f"{STEPS:07}.png").exists()


def test_workers_make_the_same_batches(sources: Sources) -> None:
    here = FwaTraining(settings(sources))
    there = FwaTraining(settings(sources), workers=1)
    try:
        for step in (0, 1, 5):
            a, b = here._batches.get(step), there._batches.get(step)
            assert np.array_equal(a.pictures, b.pictures)
            assert a.families == b.families
    finally:
        there.close()


def test_batches_hold_both_classes_and_all_families(sources: Sources) -> None:
    faces = Faces(sources, "train")
    batch = make_batch(faces, 3, 80, 32)
    assert batch.pictures.shape == (80, 32, 32, 3)
    assert batch.fake.tolist() == [False, True] * 40
    assert set(batch.families) == set(faces.shares) == {"fwa", "self_blended", "reposed", "reenacted"}
    without = Faces(Sources(sources.packs), "train")
    assert set(make_batch(without, 3, 60, 32).families) == {"fwa", "self_blended", "reposed"}
    with pytest.raises(ValueError, match="no face of the split 'photo'"):
        Faces(sources, "photo")


def test_families_are_drawn_by_the_shares_that_are_asked_for(sources: Sources) -> None:
    asked = replace(sources, shares={"fwa": 0.0, "reposed": 0.0, "reenacted": 0.0, "self_blended": 0.5})
    assert set(make_batch(Faces(asked, "train"), 3, 12, 32).families) == {"self_blended"}
    # all families are judged all the same
    assert set(held_out(asked, 1, 32).families) == {REAL, "fwa", "self_blended", "reposed", "reenacted"}
    with pytest.raises(ValueError, match=r"shares of \['swap'\]"):
        Faces(replace(sources, shares={"swap": 0.1}), "train")
    lacking = Sources(sources.packs, shares={"reenacted": 0.1})
    with pytest.raises(ValueError, match=r"shares of \['reenacted'\]"):
        Faces(lacking, "train")
    # a family of which no pair is held out may be trained with all the same
    assert set(Faces(lacking, "val").shares) == {"fwa", "self_blended", "reposed"}
    with pytest.raises(ValueError, match="no family"):
        Faces(Sources(sources.packs, shares=dict.fromkeys(("fwa", "self_blended", "reposed"), 0.0)), "train")


def test_calibration_lowers_the_error_of_scores_that_are_too_sure() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(0, 1.5, 4000)
    fake = rng.random(4000) < sigmoid(truth)
    logits = 3 * truth + 1
    found = calibrate(logits, fake)

    def error(scores: np.ndarray) -> float:
        return reliability(scores[~fake], scores[fake]).error

    assert error(sigmoid(logits)) > 0.1
    assert error(found.probabilities(logits)) < 0.03
    assert found.scale == pytest.approx(1 / 3, abs=0.04)
    assert found.offset == pytest.approx(-1 / 3, abs=0.12)


def test_calibration_of_classes_that_are_told_apart_wholly_stays_finite() -> None:
    logits = np.concatenate((np.linspace(-4, -2, 50), np.linspace(2, 4, 50)))
    fake = np.arange(100) >= 50
    found = calibrate(logits, fake)
    assert np.isfinite(found).all()
    assert 1 < found.scale < 20
    with pytest.raises(ValueError, match="both"):
        calibrate(logits, np.ones(100, bool))


def test_command_trains_and_its_result_is_converted(sources: Sources, tmp_path: Path) -> None:
    folder, _ = sources.packs[0]
    command = ["train", "fwa", "--run", str(tmp_path / "run"), "--pack", f"{folder}=2", "--preset", "tiny"]
    main([*command, "--steps", "10", "--batch", "4", "--held-out", "3"])
    assert (tmp_path / "run" / "losses.png").exists()
    with pytest.raises(ValueError, match=r"\[N, 3, 224, 224\]"):
        convert_fwa(tmp_path / "run" / "fwa-lite.onnx", tmp_path / "zoo", threshold=0.6, uncertain=0.4)


def test_a_network_of_full_size_is_converted_with_its_threshold(tmp_path: Path) -> None:
    torch.manual_seed(0)
    onnx.save(mobilenet_graph(MobileNet(PRESETS["full"], norm=False)), tmp_path / "full.onnx")
    arguments = ["--weights", str(tmp_path / "full.onnx"), "--out", str(tmp_path / "zoo")]
    main(["convert", "fwa", *arguments, "--threshold", "0.6", "--uncertain", "0.4"])
    section = manifest.read(tmp_path / "zoo")["fwa"]
    assert section["threshold"] == 0.6
    assert section["uncertain"] == [0.4, 0.6]
    assert (tmp_path / "zoo" / "fwa-lite-fp16.onnx").exists()
    # whose weights they are nobody said
    model = manifest.read(tmp_path / "zoo")["model"]
    assert (model["name"], model["licence"]) == ("zoo", manifest.UNKNOWN_LICENCE)
    assert "full.onnx" in model["origin"]
    assert "whoever published" in (tmp_path / "zoo" / "LICENCE").read_text(encoding="utf-8")


def test_what_is_said_of_a_classifier_stands_in_its_manifest(tmp_path: Path) -> None:
    torch.manual_seed(0)
    onnx.save(mobilenet_graph(MobileNet(PRESETS["full"], norm=False)), tmp_path / "full.onnx")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "LICENCE").write_text("my terms", encoding="utf-8")
    arguments = ["--weights", str(tmp_path / "full.onnx"), "--out", str(tmp_path / "mine"), "--no-half"]
    said = ["--licence", "MIT", "--origin", "Trained by me."]
    main(["convert", "fwa", *arguments, "--threshold", "0.6", "--uncertain", "0.4", *said])
    model = manifest.read(tmp_path / "mine")
    assert (model["model"]["licence"], model["model"]["origin"]) == ("MIT", "Trained by me.")
    assert [file["role"] for file in model["file"]] == ["network"]
    assert not (tmp_path / "mine" / "fwa-lite-fp16.onnx").exists()
    assert (tmp_path / "mine" / "LICENCE").read_text(encoding="utf-8") == "my terms"
    with pytest.raises(SystemExit, match="threshold"):
        main(["convert", "fwa", *arguments])


def test_blending_wants_its_share_said(capsys: pytest.CaptureFixture[str]) -> None:
    for given in ("old.onnx", "old.onnx=1.5", "old.onnx=0"):
        with pytest.raises(SystemExit):
            main(["train", "fwa", "--run", "run", "--pack", "pack", "--blend", given])
        assert "GRAPH=SHARE" in capsys.readouterr().err
