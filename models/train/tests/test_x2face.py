"""Our PyTorch X2Face: layout of the published model, and agreement of the exported graphs with it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
onnx = pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.convert_x2face import convert_x2face, load_x2face, x2face_graphs  # noqa: E402
from deepfake_train.make_golden import X2FACE_STRIDE, golden_x2face, wave_picture, x2face_results  # noqa: E402
from deepfake_train.manifest import read, sha256  # noqa: E402
from deepfake_train.measure import session  # noqa: E402
from deepfake_train.random_x2face import random_x2face, smooth_pictures  # noqa: E402
from deepfake_train.state_check import StateMismatchError, without_numbers  # noqa: E402
from deepfake_train.x2face import PRESETS, X2Face, X2FaceConfig  # noqa: E402

TINY = PRESETS["tiny"]
INNERMOST = "netG.model" + ".submodule" * 7


def save(state: dict[str, Any], path: Path, *, zip_container: bool = True) -> Path:
    torch.save({"state_dict": state, "epoch": 3}, path, _use_new_zipfile_serialization=zip_container)
    return path


def load(path: Path) -> X2Face:
    return load_x2face(path, align_corners=True, resize_align_corners=True)


def run(graph: Path | bytes, **inputs: np.ndarray) -> np.ndarray:
    (output,) = session(graph, 2).run(None, inputs)
    return output


def portraits(count: int) -> torch.Tensor:
    """Pictures that fade to black towards their edges.

    Beyond the edge is black. Were there a step, rounding of the flow, which PyTorch and ONNX Runtime both do
    to a few millionths, would be seen a hundred times larger wherever a pixel comes to lie on it.
    """
    ramp = (torch.arange(256).minimum(255 - torch.arange(256)) / 24).clamp(max=1)
    return smooth_pictures(count) * ramp * ramp[:, None]


def error(produced: np.ndarray, expected: torch.Tensor) -> float:
    """The largest difference; pictures of one colour, which agree whatever is wrong, fail."""
    assert produced.shape == expected.shape
    assert expected.std() > 0.05
    return float(np.abs(produced - expected.numpy()).max())


def test_published_preset_has_the_size_and_the_names_of_the_published_model() -> None:
    model = without_numbers(lambda: X2Face(PRESETS["published"]))
    sizes = [
        sum(parameter.numel() for parameter in network.parameters())
        for network in (model.embedding_network, model.driving_network)
    ]
    assert sizes == [39_157_760, 25_614_080]
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    for key, shape in {
        "pix2pixUnwrapped.netG.model.down.0.weight": (64, 3, 4, 4),
        "pix2pixUnwrapped.netG.model.up.2.weight": (3, 128, 3, 3),
        "pix2pixUnwrapped.netG.model.submodule.down.1.weight": (128, 64, 4, 4),
        "pix2pixUnwrapped.netG.model.submodule.down.2.running_var": (128,),
        "pix2pixUnwrapped.netG.model.submodule.up.2.weight": (64, 256, 3, 3),
        "pix2pixUnwrapped.netG.model.submodule.up.3.bias": (64,),
        f"pix2pixUnwrapped.{INNERMOST}.up.2.weight": (512, 512, 3, 3),
        "pix2pixSampler.netG.model.up.2.weight": (2, 64, 3, 3),
        f"pix2pixSampler.{INNERMOST}.down.1.weight": (128, 512, 4, 4),
        f"pix2pixSampler.{INNERMOST}.up.2.weight": (512, 128, 3, 3),
    }.items():
        assert shapes[key] == shape, key
    assert f"pix2pixSampler.{INNERMOST}.down.2.weight" not in shapes, "the latent vector is not normalised"
    assert not [key for key in shapes if key.endswith(".bias") and (".down.1." in key or ".up.2." in key)]


@pytest.mark.parametrize("sources", [1, 3])
@pytest.mark.parametrize("resize_align_corners", [True, False])
@pytest.mark.parametrize("align_corners", [True, False])
def test_graphs_agree_with_pytorch(*, align_corners: bool, resize_align_corners: bool, sources: int) -> None:
    config = replace(TINY, align_corners=align_corners, resize_align_corners=resize_align_corners)
    model = random_x2face(config, seed=5)
    graphs = {role: graph.SerializeToString() for role, graph in x2face_graphs(model).items()}
    pictures = portraits(sources + 2)
    source, driving = pictures[:sources], pictures[sources:]
    with torch.inference_mode():
        embedded = model.embed(source).expand(2, -1, -1, -1)
        prediction = model.render(embedded, driving)
    produced = run(graphs["embedder"], source=source.numpy())
    assert error(produced, embedded[:1]) <= 1e-4
    assert (
        error(run(graphs["driver"], embedded=embedded.numpy(), driving=driving.numpy()), prediction) <= 1e-4
    )


@pytest.mark.parametrize("switch", ["align_corners", "resize_align_corners"])
def test_the_switches_matter(switch: str) -> None:
    """Otherwise that both values agree with PyTorch would prove nothing."""
    pictures = smooth_pictures(2)
    with torch.inference_mode():
        yes, no = (
            random_x2face(replace(TINY, **{switch: value}), seed=5).eval()(pictures[:1], pictures[1:])
            for value in (True, False)
        )
    assert (yes - no).abs().max() > 1e-3


def test_source_pictures_are_averaged_by_confidence() -> None:
    model = random_x2face(TINY, seed=6)
    first, second = portraits(2).split(1)
    with torch.inference_mode():
        both, again, alone = (
            model.embed(torch.cat(sources)) for sources in ((first, second), (second, first), (first,))
        )
        twice = model.embed(torch.cat((first, first)))
        weights = [model.embedding_network(picture)[0][:, 2:].exp() + 0.1 for picture in (first, second)]
        expected = (weights[0] * alone + weights[1] * model.embed(second)) / (weights[0] + weights[1])
    assert torch.allclose(both, again, atol=1e-5)
    assert torch.allclose(twice, alone, atol=1e-5)
    assert torch.allclose(both, expected, atol=1e-4)
    assert (both - alone).abs().max() > 0.01


def test_without_flow_the_picture_is_the_source() -> None:
    model = random_x2face(TINY, seed=7)
    for network in (model.embedding_network, model.driving_network):
        torch.nn.init.zeros_(network.get_parameter("model.up.2.weight"))
    picture, driving = smooth_pictures(2).split(1)
    with torch.inference_mode():
        assert torch.allclose(model(picture, driving), picture, atol=1e-4)
        latent = model.drive(driving).latent
    assert latent.shape == (1, TINY.latent)
    assert latent.any()
    assert (latent >= 0).all(), "the reference gives it rectified"


def test_skips_reach_only_the_embedding_network() -> None:
    """With an empty latent vector the driving network sees nothing, the embedding network still does."""
    model = random_x2face(TINY, seed=8)
    changed = {}
    for network in (model.embedding_network, model.driving_network):
        torch.nn.init.zeros_(list(network.levels())[-1].down[0].weight)
        with torch.inference_mode():
            maps, latent = network(smooth_pictures(2))
        assert not latent.any()
        changed[network is model.embedding_network] = float((maps[0] - maps[1]).abs().max())
    assert changed[True] > 0.1
    assert changed[False] == 0.0


def test_half_precision_stays_near_and_leaves_the_sampling_in_full() -> None:
    model = random_x2face(replace(TINY, base=8, latent=16), seed=1)
    full, half = (x2face_graphs(model, half=half) for half in (False, True))
    source, driving = (picture.numpy() for picture in portraits(2).split(1))
    inputs = {
        "embedder": {"source": source},
        "driver": {"embedded": source, "driving": driving},
    }
    for role, given in inputs.items():
        exact, rounded = (run(graphs[role].SerializeToString(), **given) for graphs in (full, half))
        assert rounded.dtype == np.float32
        distance = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
        print(f"{role}: {distance:.1e}")
        assert 0 < distance <= 1e-2, role
        inferred = onnx.shape_inference.infer_shapes(half[role], strict_mode=True).graph
        values = (*inferred.value_info, *inferred.input)
        types = {value.name: value.type.tensor_type.elem_type for value in values}
        types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
        for node in inferred.node:
            wanted = {
                "Conv": onnx.TensorProto.FLOAT16,
                "GridSample": onnx.TensorProto.FLOAT,
                "Exp": onnx.TensorProto.FLOAT,
                "Tanh": onnx.TensorProto.FLOAT,
            }.get(node.op_type)
            assert wanted is None or {types[name] for name in node.input} == {wanted}, node.name
        assert len(half[role].SerializeToString()) < len(full[role].SerializeToString())


@pytest.mark.parametrize("zip_container", [True, False])
def test_checkpoint_is_read_whatever_its_container(tmp_path: Path, *, zip_container: bool) -> None:
    config = X2FaceConfig(base=3, latent=5)
    state = random_x2face(config, seed=2).state_dict()
    # as PyTorch 0.2 saved it
    old = {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    loaded = load(save(old, tmp_path / "old.pth", zip_container=zip_container))
    assert loaded.config == config
    assert not loaded.training
    assert loaded.state_dict().keys() == state.keys()
    for key, tensor in old.items():
        assert torch.equal(tensor, loaded.state_dict()[key])


def renamed(state: dict[str, Any]) -> None:
    state["module.first"] = state.pop("pix2pixSampler.netG.model.up.2.weight")


def reshaped(state: dict[str, Any]) -> None:
    state["pix2pixUnwrapped.netG.model.up.2.weight"] = torch.zeros(2, 8, 3, 3)


def no_tensor(state: dict[str, Any]) -> None:
    state["pix2pixUnwrapped.netG.model.up.2.weight"] = 3


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (
            renamed,
            [
                "1 missing",
                "- pix2pixSampler.netG.model.up.2.weight (2, 4, 3, 3)",
                "+ module.first (2, 4, 3, 3)",
            ],
        ),
        (
            reshaped,
            ["1 of another shape", "model.up.2.weight: (3, 8, 3, 3) expected, (2, 8, 3, 3) found"],
        ),
        (no_tensor, ["(3, 8, 3, 3) expected, (int) found"]),
        (dict.clear, ["missing", "... and", "more"]),
    ],
)
def test_state_that_does_not_fit_is_told_apart(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], words: list[str]
) -> None:
    state = dict(X2Face(TINY).state_dict())
    spoil(state)
    with pytest.raises(StateMismatchError) as caught:
        load(save(state, tmp_path / "spoilt.pth"))
    for word in words:
        assert word in str(caught.value)


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("container", ["zip", "legacy", "bare"])
def test_malicious_pickle_is_refused_and_not_run(tmp_path: Path, container: str) -> None:
    path, trace = tmp_path / "x2face_model.pth", tmp_path / "trace"
    content = {"state_dict": dict(X2Face(TINY).state_dict()), "epoch": Evil(trace)}
    if container == "bare":
        path.write_bytes(pickle.dumps({"state_dict": Evil(trace)}, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(ValueError, match="refused"):
        load(path)
    assert not trace.exists()
    # the file would have worked on a careless loader
    if container == "bare":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trace.is_dir()


def test_checkpoint_without_a_state_dict_is_refused(tmp_path: Path) -> None:
    for content in ({"generator": {}}, [1, 2]):
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(ValueError, match="no 'state_dict'"):
            load(tmp_path / "other.pth")


def test_conversion_writes_a_complete_folder(tmp_path: Path) -> None:
    model = random_x2face(TINY, seed=3)
    checkpoint = save(model.state_dict(), tmp_path / "x2face_model.pth", zip_container=False)
    out = tmp_path / "mine"
    main(["convert", "x2face", str(checkpoint), "--out", str(out), "--no-align-corners"])
    manifest = read(out)
    assert set(manifest) == {"model", "file", "input", "crop", "x2face"}
    assert manifest["model"]["kind"] == "x2face"
    assert manifest["model"]["name"] == "mine"
    assert manifest["x2face"] == {
        "align_corners": False,
        "resize_align_corners": True,
        "embedded": [3, 256, 256],
    }
    files = {entry["role"]: out / entry["path"] for entry in manifest["file"]}
    assert list(files) == ["embedder", "driver", "embedder-fp16", "driver-fp16"]
    for entry in manifest["file"]:
        assert sha256(files[entry["role"]]) == entry["sha256"]
        graph = onnx.load(files[entry["role"]])
        assert [(opset.domain, opset.version) for opset in graph.opset_import] == [("", 17)]
        samplings = [node for node in graph.graph.node if node.op_type == "GridSample"]
        assert [attribute.i for node in samplings for attribute in node.attribute[:1]] == [0]
    assert "LicenseRef-X2Face" in (out / "LICENCE").read_text(encoding="utf-8")
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "x2face_model.pth --no-align-corners --out mine" in card
    assert "`align_corners=False`" in card
    source, driving = portraits(2).split(1)
    with torch.inference_mode():
        model.config = replace(TINY, align_corners=False)
        embedded, prediction = model.embed(source), model.render(source, driving)
    assert error(run(files["embedder"], source=source.numpy()), embedded) <= 1e-4
    produced = run(files["driver"], embedded=source.numpy(), driving=driving.numpy())
    assert error(produced, prediction) <= 1e-4


@pytest.mark.parametrize("number", [float("nan"), None])
def test_weights_that_are_no_finite_real_numbers_are_refused(tmp_path: Path, number: float | None) -> None:
    state = X2Face(TINY).state_dict()
    key = "pix2pixSampler.netG.model.up.2.weight"
    if number is None:
        state[key] = state[key].long()
    else:
        state[key][0, 0, 0, 0] = number
    with pytest.raises(StateMismatchError, match="not finite in pix2pixSampler"):
        load(save(state, tmp_path / "odd.pth"))


def test_networks_that_nobody_could_build_are_refused(tmp_path: Path) -> None:
    state = {"pix2pixUnwrapped.netG.model.down.0.weight": torch.ones(5000, 1, 1, 1)}
    with pytest.raises(StateMismatchError, match=r"wide\.pth: .*5000 channels are more than"):
        load(save(state, tmp_path / "wide.pth"))


def test_names_are_shown_so_that_they_do_not_command_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"\x1b[2J": 1, 2: 3}, path)
    with pytest.raises(ValueError, match="no 'state_dict'") as raised:
        load(path)
    assert str(raised.value).endswith(r"only \x1b[2J, 2")


def test_own_weights_come_under_their_own_licence(tmp_path: Path) -> None:
    checkpoint = save(X2Face(TINY).state_dict(), tmp_path / "own.pth")
    convert_x2face(
        checkpoint, tmp_path / "own", licence="CC0-1.0", terms="Do as you like.\n", origin="Ours.", half=False
    )
    manifest = read(tmp_path / "own")
    assert manifest["model"]["licence"] == "CC0-1.0"
    assert [entry["role"] for entry in manifest["file"]] == ["embedder", "driver"]
    assert (tmp_path / "own" / "LICENCE").read_text(encoding="utf-8") == "Do as you like.\n"
    # what somebody wrote there since is not written over
    (tmp_path / "own" / "README.md").write_text("My card.\n", encoding="utf-8")
    convert_x2face(checkpoint, tmp_path / "own", half=False)
    assert (tmp_path / "own" / "LICENCE").read_text(encoding="utf-8") == "Do as you like.\n"
    assert (tmp_path / "own" / "README.md").read_text(encoding="utf-8") == "My card.\n"
    with pytest.raises(SystemExit, match="go together"):
        main(["convert", "x2face", str(checkpoint), "--out", str(tmp_path / "no"), "--licence", "CC0-1.0"])


def test_random_models_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    hashes = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = str(tmp_path / name)
        main(["convert", "x2face", "--random", seed, "--preset", "tiny", "--no-half", "--out", out])
        hashes.append([entry["sha256"] for entry in read(tmp_path / name)["file"]])
    assert hashes[0] == hashes[1]
    assert not set(hashes[0]) & set(hashes[2])


def test_the_model_of_the_rust_tests_is_the_network_of_its_seed(tmp_path: Path) -> None:
    """The Rust tests hold what the plugin gives against the values beside this model."""
    folder = Path(__file__).resolve().parents[2] / "tests/data/x2face-smallest"
    golden_x2face(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.iterdir()}
    source, driving = (
        np.stack([wave_picture(number) for number in numbers]).astype(np.float32) / 255
        for numbers in ((0, 1), (2,))
    )
    embedded = run(folder / "embedder.onnx", source=source)
    prediction = run(folder / "driver.onnx", embedded=embedded, driving=driving)
    produced = {"embedded": embedded, "prediction": prediction}
    for name, expected in x2face_results().items():
        assert expected.std() > 0.05
        stored = np.fromfile(folder / f"{name}.bin", "<f4")
        # not 1e-4: the statistics come out of sums, which machines add up in their own order
        assert np.abs(stored - expected.reshape(-1)[::X2FACE_STRIDE]).max() <= 1e-3, name
        assert np.abs(stored - produced[name].reshape(-1)[::X2FACE_STRIDE]).max() <= 1e-4, name
