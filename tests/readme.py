"""Runs every `gst-launch-1.0` and `gst-inspect-1.0` line of a Markdown file, so that what it shows works.

What a test machine lacks is put in place of what a user has: footage for the user's files, a test source for
the camera, sinks that show nothing for windows. The rest of a line is run as it stands, in a fresh folder.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOOTAGE = Path(os.environ["DEEPFAKE_TEST_DATA"])
TIME_LIMIT = 240

REPLACED = {
    "driver.mp4": shlex.quote(str(FOOTAGE / "single_face.mp4")),
    "video.mp4": shlex.quote(str(FOOTAGE / "single_face.mp4")),
    "moving-portrait.mp4": shlex.quote(str(FOOTAGE / "single_face.mp4")),
    "front.jpg": shlex.quote(str(ROOT / "pipelines/assets/portrait.jpg")),
    "left.jpg": shlex.quote(str(ROOT / "pipelines/assets/portrait.jpg")),
    "portrait.jpg": shlex.quote(str(ROOT / "pipelines/assets/portrait.jpg")),
    "v4l2src": "videotestsrc is-live=true num-buffers=60",
    "autovideosink": "fakesink sync=true",
    "autoaudiosink": "fakesink sync=true",
}


def commands(markdown: str) -> list[str]:
    """The lines of `sh` blocks that call GStreamer's tools, continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", markdown, flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if re.match(r"\s*gst-(launch|inspect)-1\.0\b", line)]


def runnable(command: str) -> str:
    """The command with what this machine has in place of what it lacks."""
    for name, replacement in REPLACED.items():
        command = re.sub(rf"(?<![\w/.-]){re.escape(name)}(?![\w.-])", replacement, command)
    return command


def said(process: subprocess.CompletedProcess | subprocess.TimeoutExpired) -> str:
    """What it wrote until it ended or its time was over."""
    # In the latter case it comes as bytes, even where text was asked for.
    outputs = [process.stdout or "", process.stderr or ""]
    return "".join(o.decode(errors="replace") if isinstance(o, bytes) else o for o in outputs)


def has_gpu() -> bool:
    """Whether an NVIDIA GPU can be used here."""
    try:
        return subprocess.run(["nvidia-smi", "-L"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def main() -> int:
    """Runs the commands of the file named on the command line; 1 if one fails."""
    found = commands(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if not found:
        print(f"{sys.argv[1]} shows no pipeline", file=sys.stderr)
        return 1
    failed = skipped = 0
    gpu = has_gpu()
    for command in found:
        if not gpu and re.search(r"nvh264dec|backend=tensorrt", command):
            print(f"   SKIPPED, there is no NVIDIA GPU: {command}", flush=True)
            skipped += 1
            continue
        print(f"   {command}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            words = shlex.split(runnable(command))
            try:
                done = subprocess.run(
                    words, cwd=folder, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
                )
            except subprocess.TimeoutExpired as expired:
                print(f"   did not end within {TIME_LIMIT} s\n{said(expired)}", file=sys.stderr)
                failed += 1
                continue
        if done.returncode != 0 or "ERROR" in said(done):
            print(said(done), file=sys.stderr)
            failed += 1
    print(f"{len(found) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
