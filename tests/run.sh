#!/usr/bin/env bash
# Sets up everything on a fresh Debian 12 and runs all tests: kernels, networks, elements, whole pipelines on real
# video, the Python package, and every pipeline that the README shows.
set -euo pipefail
cd "$(dirname "$0")/.."
. pipelines/setup.sh

set_up
make_venv venv-tools "$root/models/train/requirements-test.txt"
make_torch_venv
fetch_nvrtc
fetch_tensorrt
# Tests find ONNX Runtime here; the elements themselves find it beside the plugin.
export ORT_DYLIB_PATH=$target/plugins/deepfake/libonnxruntime.so
export RUST_BACKTRACE=1

say "tests of the scripts"
"$target/venv-tools/bin/python" -m pytest -q tests

say "Rust tests"
# Optimised, since the networks' input is made by our own code: unoptimised, the clips would take minutes.
cargo test --release --locked --workspace
build_plugin

say "Python tests"
(cd models/train && "$target/venv-torch/bin/python" -m pytest -q)
say "Python tests that need no PyTorch, with the packages of today"
(cd models/train && "$target/venv-tools/bin/python" -m pytest -q)

say "pipelines of the README"
env -u ORT_DYLIB_PATH "$target/venv-tools/bin/python" tests/readme.py README.md

say "models side by side"
env -u ORT_DYLIB_PATH pipelines/compare.sh --driver "$DEEPFAKE_TEST_DATA/single_face.mp4" \
    --out "$target/compare-test/compare.mp4"
if nvidia-smi -L >/dev/null 2>&1; then
    say "GPU tests ran on $(nvidia-smi -L | head -n 1)"
else
    say "no NVIDIA GPU here: the tests that need one said SKIPPED; tests/gpu.sh takes them to a machine that has one"
fi
say "all tests passed"
