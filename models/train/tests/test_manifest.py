"""The manifests of the zoo: format, hashes, and agreement with the graphs."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepfake_train.manifest import Manifest, read, sha256
from deepfake_train.measure import session

ZOO = Path(__file__).resolve().parents[2] / "zoo"
FOLDERS = sorted(path.parent for path in ZOO.glob("*/manifest.toml"))
SECTIONS = {
    "fomm": {"crop", "fomm"},
    "x2face": {"crop", "x2face"},
    "fwa": {"crop", "fwa"},
    "face-detector": {"detector"},
    "face-landmarks": {"landmarks"},
}


def test_text_is_kept_whatever_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"graph")
    origin = 'First line,\nsecond "line"\ta tab, a back\\slash, \x7f and \u00e9.'
    Manifest("mine", "fwa", "s", "MIT", origin, {"network": "a.onnx"}, {}).write(tmp_path)
    assert read(tmp_path)["model"]["origin"] == origin


def test_the_zoo_is_complete() -> None:
    assert {folder.name for folder in FOLDERS} >= {
        "fomm-lite",
        "fwa-lite",
        "x2face-lite",
        "blazeface-short",
        "blazeface-full",
        "facemesh",
    }


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
class TestZooFolder:
    def test_manifest_has_the_sections_of_its_kind(self, folder: Path) -> None:
        manifest = read(folder)
        assert manifest["model"]["name"] == folder.name
        assert set(manifest) == {"model", "file", "input"} | SECTIONS[manifest["model"]["kind"]]

    def test_files_have_the_stated_hashes(self, folder: Path) -> None:
        files = read(folder)["file"]
        assert {entry["path"] for entry in files} == {path.name for path in folder.glob("*.onnx")}
        for entry in files:
            assert sha256(folder / entry["path"]) == entry["sha256"]

    def test_graphs_take_the_stated_input(self, folder: Path) -> None:
        manifest = read(folder)
        about = manifest["input"]
        height, width = about["height"], about["width"]
        shape = [3, height, width] if about["layout"] == "nchw" else [height, width, 3]
        first = session(folder / manifest["file"][0]["path"], 1).get_inputs()[0]
        assert first.shape[1:] == shape

    def test_graphs_have_the_stated_outputs(self, folder: Path) -> None:
        manifest = read(folder)
        wanted = {
            "face-detector": lambda: [manifest["detector"]["boxes"], manifest["detector"]["scores"]],
            "face-landmarks": lambda: [manifest["landmarks"]["output"], manifest["landmarks"]["presence"]],
            "fwa": lambda: [manifest["fwa"]["output"]],
            "fomm": lambda: ["value", "jacobian"],
            "x2face": lambda: ["embedded"],
        }[manifest["model"]["kind"]]()
        running = session(folder / manifest["file"][0]["path"], 1)
        assert {output.name for output in running.get_outputs()} == set(wanted)

    def test_licence_and_model_card_are_there(self, folder: Path) -> None:
        assert (folder / "LICENCE").stat().st_size > 1000
        assert (folder / "README.md").stat().st_size > 500


def test_values_are_written_as_toml(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"graph")
    section = {"scale": 1.5, "on": True, "pairs": [[8, 2], [16, 6]], "text": 'a "quoted" one'}
    Manifest("m", "fwa", "s", "MIT", "o", {"network": "a.onnx"}, {"fwa": section}).write(tmp_path)
    manifest = read(tmp_path)
    assert manifest["fwa"] == section
    assert manifest["file"] == [{"role": "network", "path": "a.onnx", "sha256": sha256(tmp_path / "a.onnx")}]
