"""Our PyTorch FOMM: shapes of the published model, and agreement of the exported graphs with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")

from deepfake_train import checkpoint  # noqa: E402
from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.checkpoint import infer_config, load_fomm, read_checkpoint  # noqa: E402
from deepfake_train.convert_fomm import fomm_graphs  # noqa: E402
from deepfake_train.fomm import PRESETS, Fomm, Keypoints, inverse_2x2, product_2x2  # noqa: E402
from deepfake_train.manifest import read, sha256  # noqa: E402
from deepfake_train.measure import session  # noqa: E402
from deepfake_train.measure_pytorch import pytorch_latencies  # noqa: E402
from deepfake_train.random_checkpoint import published_layout  # noqa: E402
from deepfake_train.random_fomm import random_fomm  # noqa: E402
from deepfake_train.state_check import StateMismatchError, fit_state, without_numbers  # noqa: E402


def random_model(preset: str, **changes: bool) -> Fomm:
    """Untrained, with batch norms and frames that are not the identity."""
    torch.manual_seed(5)
    model = Fomm(replace(PRESETS[preset], **changes))
    for network in (model.keypoint_detector, model.generator):
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("running_mean"):
                tensor.normal_(0, 0.1)
    torch.nn.init.normal_(model.keypoint_detector.jacobian.weight, std=0.01)
    return model


def save(model: Fomm, path: Path, *, zip_container: bool) -> None:
    content = {
        "kp_detector": model.keypoint_detector.state_dict(),
        "generator": model.generator.state_dict(),
        "epoch": 3,
    }
    torch.save(content, path, _use_new_zipfile_serialization=zip_container)


def test_vox_preset_has_the_size_of_the_published_model() -> None:
    model = Fomm(PRESETS["vox"])
    sizes = [
        sum(parameter.numel() for parameter in network.parameters())
        for network in (model.keypoint_detector, model.generator)
    ]
    assert sizes == [14_215_368, 45_575_391]
    names = model.generator.state_dict()
    assert names["dense_motion_network.down.weight"].shape == (3, 1, 13, 13)
    assert "dense_motion_network.hourglass.decoder.up_blocks.4.norm.bias" in names
    assert "bottleneck.r0.conv1.weight" in names
    assert len(model.keypoint_detector.state_dict()) == 75


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("plain", [False, True])
def test_graphs_agree_with_pytorch(*, align_corners: bool, plain: bool) -> None:
    model = random_model("lite", align_corners=align_corners)
    graphs = {role: graph.SerializeToString() for role, graph in fomm_graphs(model, plain=plain).items()}
    pictures = torch.rand(4, 3, 256, 256)
    with torch.inference_mode():
        points = model.keypoint_detector(pictures)
        # spread the points: those of an untrained network all lie in the middle
        points = Keypoints(torch.rand(points.value.shape) * 1.6 - 0.8, points.jacobian)
        source, driving = (
            Keypoints(points.value[part], points.jacobian[part]) for part in (slice(2), slice(2, 4))
        )
        features, small = model.generator.encode(pictures[:2])
        prediction = model.generator.decode(features, small, source, driving)
        detected = model.keypoint_detector(pictures[:2])
    value, jacobian = session(graphs["keypoints"], 2).run(None, {"image": pictures[:2].numpy()})
    encoded = session(graphs["encoder"], 2).run(None, {"source": pictures[:2].numpy()})
    inputs = {
        "features": features.numpy(),
        "small": small.numpy(),
        "source_value": source.value.numpy(),
        "source_jacobian": source.jacobian.numpy(),
        "driving_value": driving.value.numpy(),
        "driving_jacobian": driving.jacobian.numpy(),
    }
    (rendered,) = session(graphs["generator"], 2).run(None, inputs)
    for produced, expected in (
        (value, detected.value),
        (jacobian, detected.jacobian),
        (encoded[0], features),
        (encoded[1], small),
        (rendered, prediction),
    ):
        assert np.abs(produced - expected.numpy()).max() <= 1e-4


@pytest.mark.parametrize("zip_container", [True, False])
def test_checkpoint_is_read_whatever_its_container(tmp_path: Path, *, zip_container: bool) -> None:
    model = random_model("tiny")
    save(model, tmp_path / "tiny.pth.tar", zip_container=zip_container)
    loaded = load_fomm(tmp_path / "tiny.pth.tar", align_corners=True)
    assert loaded.config == PRESETS["tiny"]
    for name, tensor in model.generator.state_dict().items():
        assert torch.equal(tensor, loaded.generator.state_dict()[name])


def test_half_precision_does_not_change_the_low_pass(tmp_path: Path) -> None:
    model = random_model("tiny")
    exact = model.generator.dense_motion_network.down.weight.clone()
    model.keypoint_detector.half()
    model.generator.half()
    save(model, tmp_path / "half.pt", zip_container=True)
    loaded = load_fomm(tmp_path / "half.pt", align_corners=True)
    assert torch.equal(loaded.generator.dense_motion_network.down.weight, exact)


def test_checkpoint_without_a_generator_is_refused(tmp_path: Path) -> None:
    torch.save({"kp_detector": {}}, tmp_path / "half.pt")
    with pytest.raises(ValueError, match="no 'generator'"):
        read_checkpoint(tmp_path / "half.pt")


def test_all_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    content = published_layout(random_model("tiny"))
    detector, generator = content["kp_detector"], content["generator"]
    detector["module.kp.bias"] = detector.pop("kp.bias")
    generator["final.weight"] = torch.zeros(3, 4, 5, 5)
    generator["first.norm.bias"] = 7
    path = tmp_path / "odd.pth.tar"
    torch.save(content, path)
    with pytest.raises(StateMismatchError) as raised:
        load_fomm(path, align_corners=True)
    assert str(raised.value).splitlines() == [
        f"{path}: 'kp_detector' does not fit the network",
        "1 missing:",
        "  - kp.bias (3,)",
        "1 not known:",
        "  + module.kp.bias (3,)",
        f"{path}: 'generator' does not fit the network",
        "2 of another shape:",
        "  ! first.norm.bias: (4,) expected, (int) found",
        "  ! final.weight: (3, 4, 7, 7) expected, (3, 4, 5, 5) found",
    ]


def test_what_has_no_widths_is_compared_with_the_published_model(tmp_path: Path) -> None:
    path = tmp_path / "other.pth.tar"
    torch.save({"kp_detector": {}, "generator": {"first.conv.weight": 1, "theirs": torch.ones(2)}}, path)
    with pytest.raises(StateMismatchError) as raised:
        load_fomm(path, align_corners=True)
    text = str(raised.value)
    assert "  - predictor.encoder.down_blocks.0.conv.weight (64, 3, 3, 3)" in text
    assert "  ! first.conv.weight: (64, 3, 7, 7) expected, (int) found" in text
    assert "  + theirs (2,)" in text
    assert "more" in text


def test_a_network_to_be_fitted_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every version of PyTorch: a small file can tell of widths that no machine has room for."""
    built: list[Fomm] = []

    class Watched(Fomm):
        def __post_init__(self) -> None:
            super().__post_init__()
            built.append(self)
            devices.append(
                {weight.device.type for network in networks(self) for weight in network.parameters()}
            )

    def networks(model: Fomm) -> tuple[torch.nn.Module, torch.nn.Module]:
        return model.keypoint_detector, model.generator

    devices: list[set[str]] = []
    save(random_model("tiny"), tmp_path / "tiny.pt", zip_container=True)
    monkeypatch.setattr(checkpoint, "Fomm", Watched)
    model = load_fomm(tmp_path / "tiny.pt", align_corners=True)
    assert built == [model]
    assert devices == [{"meta"}]
    for network in networks(model):
        assert {tensor.device.type for tensor in network.state_dict().values()} == {"cpu"}


@pytest.mark.parametrize(
    "generator",
    [
        {"first.conv.weight": torch.ones(5000, 1, 1, 1)},
        {f"bottleneck.r{index}.conv1.weight": torch.ones(1) for index in range(1000)},
        {f"dense_motion_network.hourglass.encoder.down_blocks.{index}.conv.weight": 1 for index in range(99)},
    ],
)
def test_networks_that_nobody_could_build_are_refused(
    tmp_path: Path, generator: dict[str, torch.Tensor | int]
) -> None:
    path = tmp_path / "wide.pt"
    torch.save({"kp_detector": {}, "generator": generator}, path)
    with pytest.raises(StateMismatchError, match=r"wide\.pt: .* are more than the .* that can be"):
        load_fomm(path, align_corners=True)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), None])
def test_weights_that_are_no_finite_real_numbers_are_refused(number: float | None) -> None:
    state = random_model("tiny").generator.state_dict()
    if number is None:
        state["final.bias"] = torch.ones(3, dtype=torch.int64)
    else:
        state["final.bias"][1] = number
    network = without_numbers(lambda: Fomm(PRESETS["tiny"])).generator
    with pytest.raises(StateMismatchError, match=r"it has numbers .* not finite in final\.bias$"):
        fit_state(network, state, "it")


def test_odd_counters_of_steps_do_not_matter() -> None:
    state: dict[str, object] = dict(random_model("tiny").generator.state_dict())
    state["first.norm.num_batches_tracked"] = torch.tensor(7)
    for odd in (torch.ones(9), torch.tensor(float("nan")), "seven"):
        state["down_blocks.0.norm.num_batches_tracked"] = odd
        network = without_numbers(lambda: Fomm(PRESETS["tiny"])).generator
        fit_state(network, state, "it")
        fitted = network.state_dict()
        assert fitted["first.norm.num_batches_tracked"] == 7
        assert torch.equal(fitted["down_blocks.0.norm.num_batches_tracked"], torch.tensor(0))


def test_names_are_shown_so_that_they_do_not_command_the_terminal(tmp_path: Path) -> None:
    evil, path = "\x1b[2J", tmp_path / "evil.pt"
    contents = ({evil: 1, 2: 3}, {"kp_detector": {}, "generator": {evil: torch.ones(2), 2: torch.ones(1)}})
    for content in contents:
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"evil\.pt") as raised:
            load_fomm(path, align_corners=True)
        assert r"\x1b[2J" in str(raised.value)
        assert evil not in str(raised.value)


@pytest.mark.parametrize("zip_container", [True, False])
def test_published_layout_becomes_a_zoo_folder_that_claims_nothing(
    tmp_path: Path, *, zip_container: bool
) -> None:
    content = published_layout(random_model("tiny"))
    assert {"discriminator", "optimizer_generator", "epoch"} < set(content)
    path, out = tmp_path / "vox-adv-cpk.pth.tar", tmp_path / "vox-adv"
    torch.save(content, path, _use_new_zipfile_serialization=zip_container)
    main(["convert", "fomm", "--weights", str(path), "--out", str(out), "--no-half"])
    about = read(out)["model"]
    assert about["name"] == "vox-adv"
    assert about["licence"] == "LicenseRef-checkpoint"
    assert about["origin"] == f"Converted from vox-adv-cpk.pth.tar, SHA-256 {sha256(path)}."
    assert "Put those terms here" in (out / "LICENCE").read_text(encoding="utf-8")
    assert "vox-adv-cpk.pth.tar" in (out / "README.md").read_text(encoding="utf-8")


def test_what_is_said_of_a_checkpoint_is_written(tmp_path: Path) -> None:
    path, out = tmp_path / "own.pt", tmp_path / "own"
    torch.save(published_layout(random_model("tiny")), path)
    out.mkdir()
    (out / "README.md").write_text("by hand", encoding="utf-8")
    labels = {"name": "mine", "summary": "A model.", "licence": "CC0-1.0", "origin": "Trained here."}
    options = [word for key, value in labels.items() for word in (f"--{key}", value)]
    main(["convert", "fomm", "--weights", str(path), "--out", str(out), "--no-half", *options])
    assert read(out)["model"] == labels | {"kind": "fomm"}
    assert "CC0-1.0" in (out / "LICENCE").read_text(encoding="utf-8")
    assert (out / "README.md").read_text(encoding="utf-8") == "by hand"
    with pytest.raises(SystemExit, match="--name is of a checkpoint"):
        main(["convert", "fomm", "--random", "1", "--out", str(out), "--name", "mine"])
    switches = ["--preset", "tiny", "--no-half", "--no-align-corners"]
    main(["convert", "fomm", "--random", "1", "--out", str(tmp_path / "random"), *switches])
    assert read(tmp_path / "random")["fomm"]["align_corners"] is False
    assert not list((tmp_path / "random").glob("*-fp16.onnx"))


def test_configuration_is_read_off_the_shapes() -> None:
    for name in ("lite", "tiny"):
        model = Fomm(PRESETS[name])
        parts = {
            "kp_detector": model.keypoint_detector.state_dict(),
            "generator": model.generator.state_dict(),
        }
        assert infer_config(parts, align_corners=True) == PRESETS[name]


def test_inverse_of_a_singular_frame_is_finite() -> None:
    frames = torch.stack((torch.eye(2) * 2, torch.zeros(2, 2)))
    inverse = inverse_2x2(frames)
    assert torch.isfinite(inverse).all()
    assert torch.allclose(product_2x2(frames[0], inverse[0]), torch.eye(2))


def test_a_picture_moved_by_its_own_points_is_not_moved() -> None:
    model = random_model("tiny")
    picture = torch.rand(1, 3, 256, 256)
    with torch.inference_mode():
        _, small = model.generator.encode(picture)
        points = model.keypoint_detector(picture)
        motion = model.generator.dense_motion_network(small, points, points)
    grid = torch.linspace(-1, 1, 64)
    assert torch.allclose(motion.flow[0, :, :, 0], grid.expand(64, 64), atol=1e-4)


def test_random_models_are_the_same_for_the_same_seed() -> None:
    first, second, other = (
        random_fomm(PRESETS["tiny"], seed).generator.state_dict()["final.weight"] for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_every_way_to_run_the_model_in_pytorch_is_timed() -> None:
    times = dict(pytorch_latencies("tiny", "cpu"))
    assert len(times) == 3
    assert all(milliseconds > 0 for milliseconds in times.values())
