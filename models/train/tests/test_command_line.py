"""Errors of the command line: a message for what was given, a traceback for what the program does wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepfake_train import __main__ as command_line

ROOT = Path(__file__).resolve().parents[1]


class FromElsewhereError(RuntimeError):
    """Such as PyTorch raises for tensors that do not fit."""


class OfThisPackageError(RuntimeError):
    """Such as a loss that is not finite."""

    __module__ = "deepfake_train.training.loop"


def _failing_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(arguments: object) -> None:
        raise error

    monkeypatch.setattr(command_line, "main", fail)
    monkeypatch.delenv(command_line.TRACEBACK, raising=False)


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("no such file: a"),
        ValueError("no such file: a"),
        OfThisPackageError("no such file: a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_wrong_with_the_input_is_a_message(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    _failing_with(monkeypatch, error)
    with pytest.raises(SystemExit, match=r"^deepfake_train: no such file: a$"):
        command_line.run([])
    monkeypatch.setenv(command_line.TRACEBACK, "1")
    with pytest.raises(type(error)):
        command_line.run([])


@pytest.mark.parametrize(
    "error",
    [TypeError(), KeyError("a"), AssertionError(), IndexError(), FromElsewhereError()],
    ids=lambda error: type(error).__name__,
)
def test_what_is_wrong_with_the_program_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    _failing_with(monkeypatch, error)
    with pytest.raises(type(error)):
        command_line.run([])


def test_an_error_without_a_message_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _failing_with(monkeypatch, ValueError())
    with pytest.raises(SystemExit, match="ValueError"):
        command_line.run([])


@pytest.mark.parametrize("traceback", [False, True], ids=["message", "traceback"])
def test_the_program_ends_with_one_line_and_status_1(tmp_path: Path, traceback: bool) -> None:
    pytest.importorskip("cv2", reason="OpenCV is only in the training environment (requirements.txt)")
    pytest.importorskip("rich", reason="rich is only in the training environment (requirements.txt)")
    lost = str(tmp_path / "lost")
    command = ["prepare", "videos", lost, "--zoo", str(tmp_path), "--out", str(tmp_path / "out")]
    environment = {**os.environ, command_line.TRACEBACK: "1" if traceback else ""}
    ended = subprocess.run(
        [sys.executable, "-m", "deepfake_train", *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ("Traceback" in ended.stderr) == traceback
    assert ended.stderr.splitlines()[-1].endswith(f"no such file or folder: {lost}")
    assert len(ended.stderr.splitlines()) == 1 or traceback


@pytest.mark.parametrize("said", ["", "stopped at step 3"])
def test_what_ctrl_c_ends_has_no_traceback_and_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    _failing_with(monkeypatch, KeyboardInterrupt(*[said] * bool(said)))
    with pytest.raises(SystemExit) as ended:
        command_line.run([])
    assert ended.value.code == 130
    assert capsys.readouterr().err == f"deepfake_train: {said or 'interrupted'}\n"


@pytest.mark.parametrize(
    ("kind", "option", "value", "said"),
    [
        ("fwa", "--held-out", "0", "'0' is not a whole number above 0"),
        ("fwa", "--batch", "5", "'5' is not an even number above 0"),
        ("fwa", "--share", "fwa=2", "'fwa=2' is not FAMILY=SHARE"),
        ("fwa", "--share", "fwa", "'fwa' is not FAMILY=SHARE"),
        ("fomm", "--batch", "many", "'many' is not a whole number"),
        ("x2face", "--save-every", "-1", "'-1' is not a whole number above 0"),
    ],
)
def test_numbers_that_cannot_be_are_refused_before_anything_is_read(
    capsys: pytest.CaptureFixture[str], kind: str, option: str, value: str, said: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_line.main(["train", kind, f"{option}={value}"])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
