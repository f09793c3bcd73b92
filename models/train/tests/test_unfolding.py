"""From the graphs of a zoo folder back to weights that can be trained."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
for package in ("cv2", "matplotlib", "rich"):
    pytest.importorskip(package, reason="only in the training environment (requirements.txt)")

import numpy as np  # noqa: E402
import onnx  # noqa: E402
from fomm_faces import NoExpressions, position_stills  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from test_fomm import random_model  # noqa: E402

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.checkpoint import load_fomm  # noqa: E402
from deepfake_train.convert_fomm import ROLES, write_fomm  # noqa: E402
from deepfake_train.folding import (  # noqa: E402
    from_phase_kernel,
    from_upsampling_phases,
    phase_kernel,
    upsampling_phases,
)
from deepfake_train.fomm import PRESETS, Fomm  # noqa: E402
from deepfake_train.training.fomm.clips import write_views  # noqa: E402
from deepfake_train.training.fomm.synthesis import PairSynthesis  # noqa: E402
from deepfake_train.training.fomm.weights import save_fomm  # noqa: E402
from deepfake_train.unfolding import norms_do_nothing, unfolded_fomm  # noqa: E402


def zoo_folder(model: Fomm, folder: Path) -> Path:
    write_fomm(model, folder, name="tiny", summary="", licence="MIT", origin="", half=False)
    return folder


def constants(folder: Path, role: str) -> list[np.ndarray]:
    return [numpy_helper.to_array(tensor) for tensor in onnx.load(folder / f"{role}.onnx").graph.initializer]


def test_what_was_rewritten_is_found_again() -> None:
    random = np.random.default_rng(1)
    small = random.normal(size=(2, 3, 3, 3))
    assert np.allclose(from_upsampling_phases(upsampling_phases(small)), small)
    for size in (3, 7):
        final = random.normal(size=(3, 2, size, size))
        assert np.array_equal(from_phase_kernel(phase_kernel(final)), final)


@pytest.mark.parametrize("align_corners", [False, True])
def test_weights_of_a_zoo_folder_make_the_same_graphs(tmp_path: Path, *, align_corners: bool) -> None:
    model = random_model("tiny", align_corners=align_corners)
    folder = zoo_folder(model, tmp_path / "zoo")
    unfolded = unfolded_fomm(folder)
    assert unfolded.config == model.config
    assert norms_do_nothing(unfolded)
    assert not norms_do_nothing(model)
    again = zoo_folder(unfolded, tmp_path / "again")
    for role in ROLES:
        for wanted, found in zip(constants(folder, role), constants(again, role), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=1e-6)


def test_a_training_begins_with_what_the_zoo_has(tmp_path: Path) -> None:
    folder = zoo_folder(random_model("tiny"), tmp_path / "zoo")
    synthesis = PairSynthesis(position_stills(2), NoExpressions(), 32, grid=16)
    list(write_views(synthesis, tmp_path / "clips", pairs=2, seed=0))
    command = [
        *("train", "fomm", "--out", str(tmp_path / "run"), "--preset", "tiny", "--size", "32"),
        *("--clips", str(tmp_path / "clips"), "--batch", "2", "--steps", "1", "--warm-up", "1"),
        *("--weight", "perceptual=0", "--weight", "parts=0", "--start", str(folder), "--rate", "1e-9"),
    ]
    with pytest.raises(SystemExit, match="--frozen-norms"):
        main(command)
    main([*command, "--frozen-norms"])
    wanted = unfolded_fomm(folder)
    found = load_fomm(tmp_path / "run" / "fomm-fp16.pt", align_corners=True)
    for name in ("keypoint_detector", "generator"):
        states = (getattr(model, name).state_dict() for model in (found, wanted))
        for (key, a), b in zip(next(states).items(), next(states).values(), strict=True):
            torch.testing.assert_close(a.float(), b.float(), atol=1e-6, rtol=1e-3, msg=key)
    # what was trained from there has no statistics either
    with pytest.raises(SystemExit, match="--frozen-norms"):
        main([*command[:3], str(tmp_path / "next"), *command[4:-3], str(tmp_path / "run" / "fomm-fp16.pt")])


def test_weights_of_different_forms_are_not_blended(tmp_path: Path) -> None:
    model = random_model("tiny")
    folder = zoo_folder(model, tmp_path / "zoo")
    save_fomm(model, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="begin with what the training began with"):
        main(["blend", str(folder), str(tmp_path / "model.pt"), "--out", str(tmp_path / "out.pt")])
    main(["blend", str(folder), str(folder), "--out", str(tmp_path / "out.pt")])
    assert norms_do_nothing(load_fomm(tmp_path / "out.pt", align_corners=True))


def test_graphs_that_others_wrote_are_refused(tmp_path: Path) -> None:
    folder = zoo_folder(Fomm(PRESETS["tiny"]), tmp_path / "zoo")
    path = folder / "generator.onnx"
    graph = onnx.load(path)
    for index, node in enumerate(graph.graph.node):
        if node.op_type == "Conv":
            del graph.graph.node[index]
            break
    onnx.save(graph, path)
    with pytest.raises(ValueError, match="not the graphs that `convert fomm` writes"):
        unfolded_fomm(folder)
