"""A run folder becomes a zoo folder that says where it comes from and claims nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")
pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")

import onnx  # noqa: E402

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.fomm import PRESETS  # noqa: E402
from deepfake_train.manifest import read  # noqa: E402
from deepfake_train.measure import session  # noqa: E402
from deepfake_train.networks.mobilenet import PRESETS as FWA_PRESETS  # noqa: E402
from deepfake_train.networks.mobilenet import MobileNet, mobilenet_graph  # noqa: E402
from deepfake_train.random_fomm import random_fomm  # noqa: E402
from deepfake_train.random_x2face import random_x2face, smooth_pictures  # noqa: E402
from deepfake_train.training.export import NoWeightsError, export  # noqa: E402
from deepfake_train.training.fomm.weights import save_fomm  # noqa: E402
from deepfake_train.training.loop import note_weights  # noqa: E402
from deepfake_train.x2face import PRESETS as X2FACE_PRESETS  # noqa: E402


def test_a_run_of_fomm_is_exported_by_the_command(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "mine"
    run.mkdir()
    save_fomm(random_fomm(PRESETS["tiny"], 1), run / "fomm-fp16.pt")
    (run / "losses.csv").write_text("step,learning rate,total\n10,0.1,2\n20,0.1,1\n", encoding="utf-8")
    main(["export", str(run), "--out", str(out)])
    manifest = read(out)
    assert (manifest["model"]["name"], manifest["model"]["kind"]) == ("mine", "fomm")
    assert manifest["model"]["licence"].startswith("LicenseRef-")
    assert "at least 20 steps" in manifest["model"]["origin"]
    roles = {file["role"] for file in manifest["file"]}
    assert {"keypoints", "encoder", "generator", "generator-fp16"} <= roles


def test_what_is_exported_has_the_steps_of_its_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    save_fomm(random_fomm(PRESETS["tiny"], 1), run / "fomm-fp16.pt")
    note_weights(run, 100)
    # it went on, and was killed before it wrote weights
    (run / "losses.csv").write_text("step,learning rate,total\n100,0.1,2\n4990,0.1,1\n", encoding="utf-8")
    export(run, tmp_path / "mine")
    assert ", 100 steps, in a run called run" in read(tmp_path / "mine")["model"]["origin"]


def test_a_run_of_fwa_is_exported_with_its_threshold(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "mine"
    run.mkdir()
    torch.manual_seed(3)
    network = MobileNet(FWA_PRESETS["full"], norm=False).eval()
    onnx.save(mobilenet_graph(network), run / "fwa-lite.onnx")
    with pytest.raises(NoWeightsError):
        export(run, out)
    report = {"threshold": 0.75, "uncertain from": 0.5}
    (run / "held-out.json").write_text(json.dumps(report), encoding="utf-8")
    assert export(run, out) == "fwa"
    manifest = read(out)
    assert (manifest["model"]["kind"], manifest["model"]["name"]) == ("fwa", "mine")
    assert (manifest["fwa"]["threshold"], manifest["fwa"]["uncertain"]) == (0.75, [0.5, 0.75])
    side = network.shape.side
    picture = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
    (logit,) = session(out / "fwa-lite.onnx", 1).run(None, {"input": picture.numpy()})
    with torch.no_grad():
        assert np.abs(logit - network(picture).numpy()).max() < 1e-4


def test_a_run_of_x2face_is_exported_with_the_licence_that_was_said(tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "mine"
    run.mkdir()
    model = random_x2face(X2FACE_PRESETS["smallest"], 1)
    torch.save({"state_dict": model.state_dict()}, run / "x2face.pth")
    assert export(run, out, licence="CC0-1.0", origin="Drawn by hand.") == "x2face"
    manifest = read(out)["model"]
    assert (manifest["kind"], manifest["licence"], manifest["origin"]) == (
        "x2face",
        "CC0-1.0",
        "Drawn by hand.",
    )
    assert read(out)["crop"]["scale"] == 1.7  # what it was trained on
    assert "CC0-1.0" in (out / "LICENCE").read_text(encoding="utf-8")


def test_a_compact_export_is_a_third_as_large_and_gives_nearly_the_same(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    model = random_x2face(X2FACE_PRESETS["tiny"], 1)
    torch.save({"state_dict": model.state_dict()}, run / "x2face.pth")
    pictures = smooth_pictures(2).numpy()[:, None]
    sizes, made = [], []
    for compact in (False, True):
        out = tmp_path / f"compact-{compact}"
        export(run, out, compact=compact)
        sizes.append(sum(file.stat().st_size for file in out.glob("*.onnx")))
        embedder, driver = (session(out / f"{role}.onnx", 1) for role in ("embedder", "driver"))
        (face,) = embedder.run(None, {"source": pictures[0]})
        made.append(driver.run(None, {"embedded": face, "driving": pictures[1]})[0])
    assert sizes[1] < 0.4 * sizes[0]
    assert 0 < np.abs(made[0] - made[1]).mean() < 2e-3


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoWeightsError, match="has train ended there"):
        export(tmp_path, tmp_path / "out")
