"""The published classifiers: agreement of their graphs with PyTorch, and what is refused as a checkpoint."""

from __future__ import annotations

import pickle
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")

from deepfake_train.__main__ import main  # noqa: E402
from deepfake_train.convert_resnet import NETWORKS, convert_classifier, load_classifier  # noqa: E402
from deepfake_train.golden import Floats  # noqa: E402
from deepfake_train.manifest import read, sha256  # noqa: E402
from deepfake_train.measure import session  # noqa: E402
from deepfake_train.resnet import (  # noqa: E402
    BGR_MEAN,
    DSP_FWA,
    FWA,
    TINY,
    ResNet,
    ResNetConfig,
    pool_sizes,
    random_pictures,
    random_resnet,
)
from deepfake_train.resnet_onnx import classifier_graph  # noqa: E402
from deepfake_train.state_check import without_numbers  # noqa: E402


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResNet, Path]:
    """A random network and its checkpoint in the layout of SPP-res50.pth, unused heads included."""
    model = random_resnet(DSP_FWA, seed=3)
    path = tmp_path_factory.mktemp("checkpoint") / "SPP-res50.pth"
    torch.save({"epoch": 19, "net": published_names(model)}, path, _use_new_zipfile_serialization=False)
    return model, path


def published_names(model: ResNet) -> dict[str, Any]:
    state = {
        key if key.startswith("classifier.") else f"resnet.resnet.{key}": value
        for key, value in model.state_dict().items()
    }
    for head, classes in (("resnet.resnet.fc", 1000), ("resnet.fc", 2)):
        state |= {f"{head}.weight": torch.zeros(classes, 2048), f"{head}.bias": torch.zeros(classes)}
    return state


def logits(model: Path | bytes, pictures: torch.Tensor) -> Floats:
    (result,) = session(model, 2).run(["logits"], {"input": pictures.numpy()})
    return np.asarray(result, np.float32)


def test_networks_have_the_sizes_of_the_published_ones() -> None:
    trunk = 23_508_032  # of torchvision's ResNet-50, without its last layer
    sizes = {
        name: sum(parameter.numel() for parameter in without_numbers(partial(ResNet, config)).parameters())
        for name, config in NETWORKS.items()
    }
    assert sizes == {"dsp-fwa": trunk + 2 * (2048 * 41 + 1), "fwa": trunk + 2 * (2048 + 1)}
    assert [pool_sizes(7, cells) for cells in DSP_FWA.pyramid] == [(7, 7), (4, 3), (2, 1)]


def test_strides_lie_where_the_framework_has_them() -> None:
    def strides(config: ResNetConfig) -> list[tuple[int, int]]:
        units = ((stage, unit) for stage, count in enumerate(config.units) for unit in range(count))
        return [place for place in units if config.stride(*place) == 2]

    assert strides(DSP_FWA) == [(1, 0), (2, 0), (3, 0)]
    assert strides(FWA) == [(0, 2), (1, 3), (2, 5)]


@pytest.mark.parametrize("config", [DSP_FWA, FWA, *TINY.values()], ids=["dsp-fwa", "fwa", "tiny", "tiny-fwa"])
def test_graph_agrees_with_pytorch(config: ResNetConfig) -> None:
    model = random_resnet(config, seed=2)
    pictures = random_pictures(2)
    with torch.inference_mode():
        expected = model(pictures).numpy()
    assert np.ptp(expected) > 0.1, "logits that are all the same would prove nothing"
    tensors = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    graph = classifier_graph(tensors, config).SerializeToString()
    produced = logits(graph, pictures)
    print(f"largest difference {np.abs(produced - expected).max():.1e}")
    assert np.abs(produced - expected).max() <= 1e-4
    assert np.abs(logits(graph, pictures[1:]) - produced[1:]).max() <= 1e-5, "any number of pictures"


def test_published_layout_becomes_a_zoo_folder(published: tuple[ResNet, Path], tmp_path: Path) -> None:
    model, path = published
    main(["convert", "dsp-fwa", str(path), "--out", str(tmp_path / "dsp")])
    folder = tmp_path / "dsp"
    manifest = read(folder)
    assert manifest["model"]["kind"] == "dsp-fwa"
    assert sha256(path) in manifest["model"]["origin"]
    assert manifest["fwa"]["fake_class"] == 0
    files = {entry["role"]: folder / entry["path"] for entry in manifest["file"]}
    for entry in manifest["file"]:
        assert sha256(folder / entry["path"]) == entry["sha256"]
    # what the manifest says of the input has to undo what random_pictures did
    about = manifest["input"]
    torch.manual_seed(8)
    pictures = random_pictures(2)
    mean, std = (np.array(about[key], np.float32)[:, None, None] for key in ("mean", "std"))
    colours = pictures.numpy() * std + mean
    assert about["channels"] == "bgr"
    assert colours.min() >= -1e-6
    assert colours.max() <= 1 + 1e-6
    with torch.inference_mode():
        expected = model(pictures).numpy()
    assert np.abs(logits(files["network"], pictures) - expected).max() <= 1e-4
    half = logits(files["network-fp16"], pictures)
    # with more than that the plugin would not take it
    assert np.linalg.norm(half - expected) <= 2e-2 * np.linalg.norm(expected)
    assert files["network-fp16"].stat().st_size < 0.55 * files["network"].stat().st_size
    assert "Put those terms here" in (folder / "LICENCE").read_text(encoding="utf-8")
    assert "SPP-res50.pth" in (folder / "README.md").read_text(encoding="utf-8")


def test_resnet_50_of_fwa_becomes_a_zoo_folder(tmp_path: Path) -> None:
    model = random_resnet(FWA, seed=4)
    path = tmp_path / "fwa.pt"
    # as trained on several GPUs, and without the counters that old versions of PyTorch did not write
    state = {
        f"module.{key}": value
        for key, value in model.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    torch.save({"state_dict": state}, path)
    out = tmp_path / "out"
    arguments = ["--weights", str(path), "--out", str(out), "--licence", "MIT", "--no-half"]
    main(["convert", "fwa", "--network", "resnet-50", *arguments])
    manifest = read(out)
    assert (manifest["model"]["kind"], manifest["model"]["licence"]) == ("fwa", "MIT")
    assert [entry["role"] for entry in manifest["file"]] == ["network"]
    assert "MIT" in (out / "LICENCE").read_text(encoding="utf-8")
    # the terms, once somebody found them out, are not written over
    (out / "LICENCE").write_text("Found terms.\n", encoding="utf-8")
    main(["convert", "fwa", "--network", "resnet-50", *arguments])
    assert (out / "LICENCE").read_text(encoding="utf-8") == "Found terms.\n"
    pictures = random_pictures(1)
    with torch.inference_mode():
        expected = model(pictures).numpy()
    assert np.abs(logits(out / "fwa.onnx", pictures) - expected).max() <= 1e-4


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    names = without_numbers(lambda: ResNet(DSP_FWA)).state_dict()
    state = {key: torch.zeros(value.shape) for key, value in names.items()}
    del state["layer3.5.bn2.running_var"]
    state["layer1.0.conv2.weight"] = torch.zeros(64, 64, 1, 1)
    state |= {f"extra.{index}": torch.zeros(1) for index in range(10)}
    path = tmp_path / "odd.pth"
    torch.save({"epoch": 1, "net": state}, path)
    with pytest.raises(ValueError, match="does not hold the wanted network") as raised:
        load_classifier(path, DSP_FWA)
    lines = str(raised.value).splitlines()[1:]
    assert lines[0] == "  - layer3.5.bn2.running_var [256]"
    assert lines[1] == "  ~ layer1.0.conv2.weight [64, 64, 1, 1] instead of [64, 64, 3, 3]"
    assert lines[2] == "  + extra.0 [1]"
    assert lines[-1] == "  + and 2 more"


def test_the_same_tensor_twice_is_refused(published: tuple[ResNet, Path], tmp_path: Path) -> None:
    state = published_names(published[0])
    state["conv1.weight"] = state["resnet.resnet.conv1.weight"]
    torch.save({"net": state}, tmp_path / "twice.pth")
    with pytest.raises(ValueError, match=r"\+ conv1\.weight \(twice\)"):
        load_classifier(tmp_path / "twice.pth", DSP_FWA)


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = random_resnet(TINY[FWA], seed=1).state_dict()
    state["layer2.0.bn1.bias"][3] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(ValueError, match=r"not finite in layer2\.0\.bn1\.bias"):
        load_classifier(tmp_path / "nan.pth", TINY[FWA])


def test_whole_numbers_are_refused(tmp_path: Path) -> None:
    state = random_resnet(TINY[FWA], seed=1).state_dict()
    state["layer2.0.bn1.bias"] = state["layer2.0.bn1.bias"].long()
    torch.save(state, tmp_path / "whole.pth")
    with pytest.raises(ValueError, match=r"whole or not finite in layer2\.0\.bn1\.bias"):
        load_classifier(tmp_path / "whole.pth", TINY[FWA])


def test_what_does_not_fit_is_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(*_: object) -> None:
        raise AssertionError("copied")

    torch.save({"x": torch.ones(2, dtype=torch.float16)}, tmp_path / "half.pth")
    monkeypatch.setattr(torch.Tensor, "float", copied)
    with pytest.raises(ValueError, match="does not hold the wanted network"):
        load_classifier(tmp_path / "half.pth", TINY[FWA])


@pytest.mark.parametrize("value", [torch.ones(1), 7])
@pytest.mark.parametrize("key", ["\x1b[2J", 5])
def test_names_are_shown_so_that_they_do_not_command_the_terminal(
    tmp_path: Path, key: str | int, value: torch.Tensor | int
) -> None:
    torch.save({key: value}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth") as raised:
        load_classifier(tmp_path / "evil.pth", TINY[FWA])
    assert (r"\x1b[2J" if key != 5 else "5: not tensors by name") in str(raised.value)
    assert "\x1b" not in str(raised.value)


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.trace, "executed")


@pytest.mark.parametrize("container", ["zip", "old", "bare"])
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, container: str) -> None:
    path, trace, out = tmp_path / "evil.pth", tmp_path / "trace", tmp_path / "out"
    content = {"epoch": 1, "net": {"conv1.weight": Malicious(trace)}}
    if container == "bare":
        path.write_bytes(pickle.dumps(content, protocol=2))  # that of torch.save
    else:
        torch.save(content, path, _use_new_zipfile_serialization=container == "zip")
    with pytest.raises(ValueError, match="is refused"):
        convert_classifier(path, out, network="dsp-fwa")
    assert not trace.exists()
    assert not out.exists()


def test_random_networks_are_the_same_for_the_same_seed(tmp_path: Path) -> None:
    written = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / name
        main(["convert", "dsp-fwa", "--random", str(seed), "--preset", "tiny", "--out", str(out)])
        written.append(tomllib.loads((out / "manifest.toml").read_text(encoding="utf-8"))["file"][0])
    assert written[0] == written[1] != written[2]


@pytest.mark.parametrize(
    ("config", "scores"),
    [(DSP_FWA, [0.62285, 0.14628]), (FWA, [0.39420, 0.00050])],
    ids=["dsp-fwa", "fwa"],
)
def test_the_models_of_the_rust_tests_are_the_networks_of_their_seed(
    config: ResNetConfig, scores: list[float]
) -> None:
    """The Rust tests hold these scores against what the plugin makes of the files."""
    kind = "dsp-fwa" if config is DSP_FWA else "fwa"
    folder = Path(__file__).resolve().parents[2] / f"tests/data/{kind}-tiny"
    manifest = read(folder)
    assert (manifest["model"]["kind"], manifest["fwa"]["fake_class"]) == (kind, 0)
    model = random_resnet(TINY[config], seed=7)
    colours = torch.tensor([[40.0, 120.0, 200.0], [200.0, 120.0, 40.0]])
    pictures = (colours - torch.tensor(BGR_MEAN))[:, :, None, None].repeat(1, 1, 224, 224)
    with torch.inference_mode():
        expected = model(pictures)
    produced = torch.from_numpy(logits(folder / f"{kind}.onnx", pictures))
    # not 1e-4: the statistics come out of sums, which machines add up in their own order
    assert (produced - expected).abs().max() <= 1e-3
    assert np.allclose(produced.softmax(1)[:, 0], scores, atol=1e-4)
