"""A checkpoint of the published size: what its conversion takes, and that the element runs the result."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is only in the training environment (requirements.txt)")
pytest.importorskip("onnx", reason="onnx is only in the training environment (requirements.txt)")

ROOT = Path(__file__).resolve().parents[1]
PORTRAIT = ROOT.parents[1] / "pipelines" / "assets" / "portrait.jpg"
MOST_MEMORY = 2 << 30
FRAMES, SIDE = 2, 256


def _ended(command: list[str]) -> int:
    """Runs it; the most memory that it had, in bytes."""
    with subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT) as process:
        # not by the process itself: what it waits for tells of all children before it, too
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss << 10


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    checkpoint = folder / "vox-cpk.pth.tar"
    _ended(["deepfake_train.random_checkpoint", str(checkpoint), "--bare"])
    assert checkpoint.stat().st_size > 228 << 20
    used = _ended(
        ["deepfake_train", "convert", "fomm", "--weights", str(checkpoint), "--out", str(folder / "vox")]
    )
    assert used < MOST_MEMORY, f"{used >> 20} MiB"
    checkpoint.unlink()
    return folder / "vox"


def test_the_element_runs_what_was_converted(converted: Path) -> None:
    launch = shutil.which("gst-launch-1.0")
    if launch is None or "GST_PLUGIN_PATH" not in os.environ:
        pytest.skip("no gst-launch-1.0, or no plugin in GST_PLUGIN_PATH: tests/run.sh has both")
    made = converted / "made.rgb"
    face = f"filesrc location={PORTRAIT} ! jpegdec ! imagefreeze num-buffers={FRAMES} ! videoconvert"
    reenact = f"fomreenact source-location={PORTRAIT} model={converted} backend=onnxruntime"
    caps = f"videoconvert ! video/x-raw,format=RGB,width={SIDE},height={SIDE}"
    ended = subprocess.run(
        [launch, "-m", *f"{face} ! {reenact} ! {caps} ! filesink location={made}".split()],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    # said when the first face was found and its key-points were
    assert "status=(string)reference" in ended.stdout, ended.stdout
    pictures = np.fromfile(made, np.uint8).reshape(FRAMES, SIDE, SIDE, 3)
    assert (pictures[0] == pictures[1]).all()  # so is the driver
    assert pictures[0].std() > 1
