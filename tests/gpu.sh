#!/usr/bin/env bash
# The whole test suite, compute-sanitizer and the benches on an NVIDIA GPU, with one table as the result.
#
# With a GPU and the package registries on one machine:
#
#   tests/gpu.sh [RUN OPTION...]           results in target/gpu-results
#
# With a GPU on a machine that reaches nothing, in two halves. Here, with or without a GPU:
#
#   tests/gpu.sh pack OUT [PACK OPTION...]
#     --groups LIST      build,runtime,tensorrt: what to pack anew (all)
#     --tensorrt KIND    rtx or 8.6 (rtx)
#     --nvrtc            pack NVRTC as well, for a machine that has none
#     --part-bytes N     size that no part exceeds (16000000)
#
# OUT/<group>-<number> is one part, a folder. There, in a checkout of the same commit:
#
#   tests/gpu.sh collect FROM KIT          takes the parts that lie in FROM; unpacks each group that is complete
#   tests/gpu.sh run KIT RESULTS [RUN OPTION...]
#     --only LIST        tests,sanitizer,bench (all)
#     --tensorrt KIND    rtx or 8.6, which have to be in the kit (rtx)
#     --match REGEX      only steps whose name matches, as in 'models/tensorrt'
#     --limit SECONDS    time-out of one step (300)
#     --seconds SECONDS  time for all steps; those that do not fit in are listed as not run, which is a failure
#
# The GPU machine needs the driver, Python 3 with PyTorch, numpy and onnx (for the random model that the benches
# measure), compute-sanitizer, and NVRTC unless it was packed. RESULTS/table.md is rewritten after every step, and
# RESULTS/log.txt has all output, so that a run that is cut short leaves what it found. Whatever fails, the next
# step is run; the exit status says whether anything failed.
set -euo pipefail

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

die() {
    echo "gpu.sh: $*" >&2
    exit 2
}

# listed WORD LIST: is the word in the comma-separated list?
listed() { [[ ",$2," == *",$1,"* ]]; }

tensorrt_8_6_hash=8850d470a92e17e65686fce2a5105dc51fc89f2b438d60d66027288a165732ba

# --- Half one: build and pack ----------------------------------------------------------------------------------

# Sources that were unpacked without git do as well.
describe_commit() { git -C "$root" describe --always --dirty 2>/dev/null || echo unknown; }

# All test programs, benches and the plugin, stripped.
#   list             kind, folder of the package, name, tab-separated; the program is programs/<folder>-<name>
#   root             where they were built: they have the paths of their data from there
#   commit
assemble_build() {
    local to=$1
    rm -rf "$to"
    mkdir -p "$to/programs"
    # First, since an edit while it builds is not in what is packed.
    describe_commit >"$to/commit"
    say "building test programs"
    (cd "$root" && cargo test --release --locked --workspace --no-run --message-format=json-render-diagnostics) \
        >"$to/messages"
    say "building benches"
    (cd "$root" && cargo bench --locked --workspace --benches --no-run --message-format=json-render-diagnostics) \
        >>"$to/messages"
    build_plugin
    /usr/bin/python3 - "$root" "$to" <<'PYTHON'
import json, pathlib, subprocess, sys
root, to = map(pathlib.Path, sys.argv[1:])
found = {}
for line in (to / "messages").read_text().splitlines():
    message = json.loads(line)
    if message["reason"] != "compiler-artifact" or not message.get("executable"):
        continue
    target, folder = message["target"], pathlib.Path(message["manifest_path"]).parent.relative_to(root)
    bench = "bench" in target["kind"]
    # Examples and plain programs are built as well, but hold no tests.
    if bench or message["profile"]["test"]:
        found["bench" if bench else "test", str(folder), target["name"]] = message["executable"]
if not any(kind == "test" for kind, *_ in found) or not any(kind == "bench" for kind, *_ in found):
    sys.exit("cargo named no tests or no benches")
with (to / "list").open("w") as lines:
    for (kind, folder, name), executable in sorted(found.items()):
        # A test and a bench may have the same name.
        program = to / "programs" / f"{kind}-{folder}-{name}"
        subprocess.run(["objcopy", "--strip-all", executable, program], check=True)
        lines.write(f"{kind}\t{folder}\t{name}\n")
(to / "messages").unlink()
PYTHON
    mkdir -p "$to/plugins"
    objcopy --strip-unneeded "$target/release/libgstdeepfake.so" "$to/plugins/libgstdeepfake.so"
    echo "$root" >"$to/root"
}

# What the programs open or are linked with: GStreamer with the plugins that tests and README use, ONNX Runtime,
# footage. Takes the folder of assemble_build, for what its programs are linked with.
assemble_runtime() {
    local to=$1 build=$2 system plugin file
    rm -rf "$to"
    mkdir -p "$to/bin" "$to/lib/gstreamer-1.0" "$to/data"
    system=$(pkg-config --variable=pluginsdir gstreamer-1.0)
    say "GStreamer from $system"
    # Decoding and encoding without FFmpeg, whose libraries would be ten times as large as all the rest.
    for plugin in app audioconvert audioparsers audioresample audiotestsrc autodetect compositor coreelements coretracers \
        de265 deinterlace faad imagefreeze isomp4 jpeg matroska multifile nvcodec openh264 playback png rawparse typefindfunctions \
        videoconvertscale videofilter videoparsersbad videorate videotestsrc voaacenc x264; do
        cp "$system/libgst$plugin.so" "$to/lib/gstreamer-1.0/"
    done
    cp "$(command -v gst-launch-1.0)" "$(command -v gst-inspect-1.0)" \
        "$(pkg-config --variable=pluginscannerdir gstreamer-1.0)/gst-plugin-scanner" "$to/bin/"
    # Opened by name at run time, so nothing is linked with it.
    cp -L "${system%/*}/libgstcuda-1.0.so.0" "$to/lib/"
    # The C and C++ runtimes are the other machine's own, and NVIDIA's libraries belong to its driver.
    ldd "$to"/bin/* "$to"/lib/*.so* "$to"/lib/gstreamer-1.0/* "$build"/programs/* "$build"/plugins/* |
        awk '$2 == "=>" && $3 ~ /^\// { print $3 }' | sort -u |
        grep -vE '/(ld-linux.*|lib(c|m|dl|rt|pthread|resolv|stdc\+\+|gcc_s|cuda|nv[a-z-]*))\.so' |
        while read -r file; do cp -L "$file" "$to/lib/"; done
    chmod u+w -R "$to/lib"
    strip --strip-unneeded "$to"/lib/*.so* "$to"/lib/gstreamer-1.0/*.so
    cp -L "$target/plugins/deepfake/libonnxruntime.so" "$to/lib/libonnxruntime.so"
    for file in "$DEEPFAKE_TEST_DATA"/*; do
        # Footage that no source file names stays here.
        if grep -rqF --include='*.rs' --include='*.py' -- "${file##*/}" "$root"/{tests,gst-plugin,models,pipelines,kernels}; then
            cp "$file" "$to/data/"
        fi
    done
    if [ "$with_nvrtc" = yes ]; then
        fetch_nvrtc
        mkdir "$to/nvrtc"
        cp "${DEEPFAKE_NVRTC_LIBRARY%/*}"/{libnvrtc.so.13,libnvrtc-builtins.so.13.0} "$to/nvrtc/"
    fi
}

# In a shell of its own, so that its temporary folder goes however it ends.
assemble_tensorrt() (
    to=$1 kind=$2
    rm -rf "$to"
    mkdir -p "$to/lib"
    scratch=$(mktemp -d "$target/tensorrt.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    say "TensorRT ($kind)"
    case $kind in
    rtx)
        unset DEEPFAKE_TENSORRT_LIBRARY
        fetch_tensorrt
        cp "${DEEPFAKE_TENSORRT_LIBRARY%/*}"/lib*.so.1 "$to/lib/"
        ;;
    8.6)
        # Not installed: the wheel is for another Python, and only its libraries are wanted.
        echo "tensorrt==8.6.0 --hash=sha256:$tensorrt_8_6_hash" >"$scratch/requirements.txt"
        "$target/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --require-hashes \
            --python-version 3.10 --implementation cp --platform manylinux_2_17_x86_64 -r "$scratch/requirements.txt" -d "$scratch"
        /usr/bin/python3 -m zipfile -e "$scratch"/*.whl "$scratch/wheel"
        for library in libnvinfer.so.8 libnvinfer_builder_resource.so.8.6.0 libnvinfer_plugin.so.8 libnvonnxparser.so.8; do
            cp "$scratch/wheel/tensorrt/$library" "$to/lib/"
        done
        # The plugin library, which the parser is linked with, names cuBLAS and cuDNN; our networks use neither. The
        # loader is content with libraries that have the symbols, under the versions it looks for; a call would trap.
        for library in libcublas.so.12 libcublasLt.so.12 libcudnn.so.8; do
            readelf --dyn-syms --wide "$to/lib/libnvinfer_plugin.so.8" |
                sed -n "s/.* \([A-Za-z0-9_]*\)@$library\( .*\)\?\$/void \1(void) { __builtin_trap(); }/p" |
                sort -u >"$scratch/symbols.c"
            [ -s "$scratch/symbols.c" ] || die "libnvinfer_plugin.so.8 names nothing of $library"
            echo "$library { global: *; };" >"$scratch/versions"
            gcc -shared -fPIC -w -Wl,-soname,"$library" -Wl,--version-script,"$scratch/versions" "$scratch/symbols.c" \
                -o "$to/lib/$library"
        done
        ;;
    *) die "--tensorrt takes rtx or 8.6, not '$kind'" ;;
    esac
)

# split_group KIT GROUP OUT: KIT/GROUP as OUT/GROUP-00, OUT/GROUP-01, .. In a shell of its own, too.
split_group() (
    kit=$1 group=$2 out=$3
    # In the target folder: all parts together are more than /tmp may hold.
    scratch=$(mktemp -d "$target/$group.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    # Programs have much in common with each other, at distances that only a large dictionary spans.
    tar -C "$kit" -c "$group" | xz --threads=0 --lzma2=preset=6,dict=64MiB | split -b "$part_bytes" -d -a 2 - "$scratch/part."
    (cd "$scratch" && sha256sum part.* >sums)
    rm -rf "$out/$group"-[0-9][0-9]
    for part in "$scratch"/part.*; do
        mkdir -p "$out/$group-${part##*.}"
        mv "$part" "$out/$group-${part##*.}/"
        cp "$scratch/sums" "$out/$group-${part##*.}/"
    done
)

read_pack_options() {
    groups=build,runtime,tensorrt tensorrt=rtx with_nvrtc=no part_bytes=16000000
    while [ $# -gt 0 ]; do
        case $1 in
        --groups) groups=$2 && shift 2 ;;
        --tensorrt) tensorrt=$2 && shift 2 ;;
        --nvrtc) with_nvrtc=yes && shift ;;
        --part-bytes) part_bytes=$2 && shift 2 ;;
        *) die "unknown option of pack: $1" ;;
        esac
    done
    tensorrt_group=tensorrt-$tensorrt
}

assemble() {
    local kit=$1
    # shellcheck source=../pipelines/setup.sh
    . "$checkout/pipelines/setup.sh"
    set_up xz-utils binutils
    mkdir -p "$kit"
    if listed runtime "$groups" && [ ! -e "$kit/build/list" ]; then groups=build,$groups; fi
    if listed build "$groups"; then assemble_build "$kit/build"; fi
    if listed runtime "$groups"; then assemble_runtime "$kit/runtime" "$kit/build"; fi
    if listed tensorrt "$groups"; then assemble_tensorrt "$kit/$tensorrt_group" "$tensorrt"; fi
}

pack() {
    local out kit group
    [ $# -ge 1 ] || die "pack where to?"
    out=$(realpath -m "$1")
    shift
    read_pack_options "$@"
    kit=$out/kit
    assemble "$kit"
    for group in build runtime "$tensorrt_group"; do
        if listed "${group%%-*}" "$groups"; then
            say "packing $group"
            split_group "$kit" "$group" "$out"
        fi
    done
    say "parts in $out"
    (cd "$out" && du -sb -- *-[0-9][0-9])
}

# --- Half two: on the GPU machine ------------------------------------------------------------------------------

# xz, or Python's where that is not installed.
decompress() {
    if command -v xz >/dev/null; then
        xz --decompress --threads=0
    else
        python3 -c 'import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer)'
    fi
}

collect() {
    [ $# -eq 2 ] || die "collect FROM KIT"
    local from=$1 kit=$2 part group here
    mkdir -p "$kit/parts"
    for part in "$from"/*-[0-9][0-9]; do
        [ -d "$part" ] || die "no parts in $from"
        group=$(basename "$part")
        group=${group%-*}
        here=$kit/parts/$group
        if ! cmp -s "$part/sums" "$here/sums"; then
            # Of another packing than what came before.
            rm -rf "$here"
            mkdir -p "$here"
            cp "$part/sums" "$here/"
        fi
        [ -e "$here/unpacked" ] || cp "$part"/part.* "$here/"
    done
    for here in "$kit"/parts/*; do
        group=$(basename "$here")
        if [ -e "$here/unpacked" ]; then
            echo "$group: unpacked before"
        elif (cd "$here" && sha256sum --check --status sums 2>/dev/null); then
            rm -rf "${kit:?}/$group"
            cat "$here"/part.* | decompress | tar -x -C "$kit"
            touch "$here/unpacked"
            echo "$group: complete, unpacked"
        else
            echo "$group: $(find "$here" -name 'part.*' | wc -l) of $(wc -l <"$here/sums") parts"
        fi
    done
}

read_run_options() {
    only=tests,sanitizer,bench tensorrt=rtx match=. limit=300 deadline=
    while [ $# -gt 0 ]; do
        case $1 in
        --only) only=$2 && shift 2 ;;
        --tensorrt) tensorrt=$2 && shift 2 ;;
        --match) match=$2 && shift 2 ;;
        --limit) limit=$2 && shift 2 ;;
        --seconds) deadline=$((SECONDS + $2)) && shift 2 ;;
        *) die "unknown option of run: $1" ;;
        esac
    done
    local word
    for word in ${only//,/ }; do listed "$word" tests,sanitizer,bench || die "--only takes tests, sanitizer, bench; not '$word'"; done
}

# row NAME RESULT SECONDS DETAIL: a line of the table. Every result but "ok" and "nothing to do" is a failure.
row() {
    local name=$1 result=$2 took=$3 detail=$4
    case $result in ok | "nothing to do") ;; *) failed=$((failed + 1)) ;; esac
    rows+=("| $name | $result | $took | ${detail//|/\\|} |")
    printf '%-42s %-14s %6s s  %s\n' "$name" "$result" "$took" "$detail"
    write_table
}

write_table() {
    {
        echo "# GPU run of $commit"
        echo
        printf -- '- %s\n' "${facts[@]}"
        echo
        echo "| step | result | s | what |"
        echo "|---|---|---|---|"
        [ ${#rows[@]} -eq 0 ] || printf '%s\n' "${rows[@]}"
        echo
        echo "$((${#rows[@]} - failed)) passed, $failed failed"
        if [ -s "$scratch/skipped" ]; then
            printf '\n## Skipped\n```\n'
            sort -u "$scratch/skipped"
            echo '```'
        fi
        cat "$scratch/figures"
    } >"$results/table.md.new"
    mv "$results/table.md.new" "$results/table.md"
}

# step NAME FOLDER COMMAND...: runs the command in the folder, its output into the log and into $scratch/output. Sets
# $status and $took. False, with a row in the table, if there was no time for it.
step() {
    local name=$1 folder=$2 allowed=$limit start
    shift 2
    if [ -n "$deadline" ]; then
        if [ $((deadline - SECONDS)) -lt 5 ]; then
            row "$name" "NOT RUN" 0 "out of time"
            return 1
        fi
        [ $((deadline - SECONDS)) -ge "$allowed" ] || allowed=$((deadline - SECONDS))
    fi
    printf '\n==== %s\n' "$name" >>"$results/log.txt"
    start=$(date +%s.%N)
    status=0
    (cd "$folder" && exec timeout --kill-after=10 "$allowed" env "${environment[@]}" "$@") >"$scratch/output" 2>&1 </dev/null || status=$?
    took=$(echo "$start $(date +%s.%N)" | awk '{ printf "%.1f", $2 - $1 }')
    cat "$scratch/output" >>"$results/log.txt"
    printf '==== %s ended with %s after %s s\n' "$name" "$status" "$took" >>"$results/log.txt"
    return 0
}

# The same for what this machine brings: its tools have libraries of their own.
plain_step() {
    local environment=()
    step "$@"
}

# What a step that failed said, short enough for a table: the names of the tests that failed, or its last words.
last_words() {
    local tests
    tests=$(awk '/^failures:$/ { names = "" } /^    [^ ]+$/ { names = names " " $1 } END { print names }' "$scratch/output")
    if [ -n "$tests" ]; then
        echo "failed:$tests" | cut -c 1-400
        return
    fi
    grep -aE 'panicked|rror|FAIL|terminate' "$scratch/output" | tail -n 1 | cut -c 1-160 || true
}

# in words, what became of a step
outcome() {
    case $status in
    0) echo ok ;;
    124 | 137) echo "TIME-OUT" ;;
    *) echo FAILED ;;
    esac
}

# programs KIND: "folder name path" of the packed programs that are asked for.
programs() {
    local kind folder name
    while IFS=$'\t' read -r kind folder name; do
        if [ "$kind" = "$1" ] && [[ $folder/$name =~ $match ]]; then
            echo "$folder $name $kit/build/programs/$kind-$folder-$name"
        fi
    done <"$kit/build/list"
}

run_tests() {
    local folder name program result counts
    while read -r folder name program; do
        # Uncaptured, so that a crash leaves its last words, and what was skipped is heard. What asks how much memory the
        # GPU has left has to be alone on it.
        local threads=()
        case $folder/$name in gst-plugin/memory | models/gpu | models/tensorrt) threads=(--test-threads=1) ;; esac
        step "$folder/$name" "$checkout/$folder" "$program" --nocapture "${threads[@]}" || continue
        result=$(outcome)
        counts=$(grep -a '^test result' "$scratch/output" | tail -n 1 | grep -oE '[1-9][0-9]* (passed|failed|ignored)' | paste -sd, | sed 's/,/, /g' || true)
        # No word of the test harness: something else was run.
        if [ "$result" = ok ] && ! grep -aq '^test result' "$scratch/output"; then result=FAILED; fi
        grep -a 'SKIPPED' "$scratch/output" | cut -c 1-200 | sed "s|^|$folder/$name: |" >>"$scratch/skipped" || true
        # This script is there to provide what tests lack elsewhere.
        if [ "$result" = ok ] && [ "$have_gpu" = yes ] && grep -aq SKIPPED "$scratch/output"; then result=SKIPPED; fi
        if [ "$result" = ok ]; then
            row "$folder/$name" ok "$took" "${counts:-no tests}"
        else
            row "$folder/$name" "$result" "$took" "${counts:+$counts; }$(last_words)"
        fi
    done < <(programs test)
    if [[ README =~ $match ]]; then
        if step README "$checkout" python3 tests/readme.py README.md; then
            row README "$(outcome)" "$took" "$(tail -n 1 "$scratch/output" | cut -c 1-160)"
        fi
    fi
}

run_sanitizer() {
    local tool folder name program result summary worked=0 sanitizer
    sanitizer=$(command -v compute-sanitizer || compgen -G '/usr/local/cuda*/bin/compute-sanitizer' | tail -n 1 || true)
    if [ -z "$sanitizer" ]; then
        row compute-sanitizer FAILED 0 "not installed here"
        return
    fi
    # The kernels need neither GStreamer nor TensorRT, and the tool may not like the libraries that come with those.
    local environment=("${environment[@]}" LD_LIBRARY_PATH="${nvrtc%/*}")
    for tool in memcheck racecheck initcheck synccheck; do
        while read -r folder name program; do
            [ "$folder" = kernels ] || continue
            step "$tool $folder/$name" "$checkout/$folder" \
                "$sanitizer" --tool "$tool" --error-exitcode 99 "$program" --nocapture --test-threads=1 || continue
            summary=$(grep -aE '^=+ [A-Z ]*SUMMARY' "$scratch/output" | tail -n 1 | sed 's/^=* *//' || true)
            if grep -aq 'terminated before first instrumented API call' "$scratch/output"; then
                row "$tool $folder/$name" "nothing to do" "$took" "does not use the GPU"
                continue
            fi
            result=$(outcome)
            # Without its summary it has not looked.
            if [ -z "$summary" ]; then result=FAILED; fi
            worked=$((worked + 1))
            row "$tool $folder/$name" "$result" "$took" "${summary:-$(last_words)}"
        done < <(programs test)
    done
    if [ "$worked" -eq 0 ]; then row compute-sanitizer FAILED 0 "no program used the GPU"; fi
}

run_benches() {
    local folder name program
    if [[ PyTorch =~ $match ]]; then
        if plain_step PyTorch "$checkout/models/train" python3 -m deepfake_train measure-pytorch --preset vox; then
            row PyTorch "$(outcome)" "$took" "$(tail -n 1 "$scratch/output" | cut -c 1-160)"
            figures PyTorch
        fi
    fi
    while read -r folder name program; do
        bench "bench $folder/$name" "$folder" "$program" --bench
        # What can measure any model measures one of the size of the published one as well.
        if grep -aq DEEPFAKE_BENCH_MODEL "$program"; then
            bench "bench $folder/$name, $large" "$folder" DEEPFAKE_BENCH_MODEL="$large" "$program" --bench
        fi
    done < <(programs bench)
}

# bench NAME FOLDER COMMAND...
bench() {
    local name=$1 folder=$2 result
    shift 2
    step "$name" "$checkout/$folder" "$@" || return 0
    result=$(outcome)
    if [ "$result" = ok ] && [ "$have_gpu" = yes ] && grep -aq SKIPPED "$scratch/output"; then result=SKIPPED; fi
    row "$name" "$result" "$took" "$([ "$status" = 0 ] || last_words)"
    figures "$name"
}

# figures NAME: what a bench printed, for the end of the table.
figures() {
    {
        printf '\n## %s\n```\n' "$1"
        grep -av '^Warning: \|^Gnuplot ' "$scratch/output" | tail -n 200
        echo '```'
    } >>"$scratch/figures"
    write_table
}

# NVRTC of this machine: from the kit, the CUDA toolkit, or a Python package.
find_nvrtc() {
    local found
    for found in "$kit"/runtime/nvrtc/libnvrtc.so.1[23] /usr/local/cuda/lib64/libnvrtc.so.1[23] /usr/local/cuda*/targets/*/lib/libnvrtc.so.1[23]; do
        if [ -e "$found" ]; then
            echo "$found"
            return
        fi
    done
    python3 - <<'PYTHON' || true
import glob, sys
found = [file for folder in sys.path for file in glob.glob(f"{folder}/nvidia/*/lib/libnvrtc.so.1[23]")]
print(*found[-1:])
PYTHON
}

# The programs have the paths of their data from where they were built.
link_root() {
    local root
    root=$(cat "$kit/build/root")
    if [ ! -e "$root" ]; then
        mkdir -p "$(dirname "$root")"
        ln -s "$checkout" "$root"
    fi
    [ "$(realpath "$root")" = "$(realpath "$checkout")" ] ||
        die "the programs look for their data in $root, which is something else than $checkout"
}

run() {
    [ $# -ge 2 ] || die "run KIT RESULTS"
    local libraries engines
    kit=$(realpath "$1") results=$(realpath -m "$2")
    shift 2
    read_run_options "$@"
    [ -e "$kit/build/list" ] || die "no programs in $kit: pack or collect first"
    mkdir -p "$results" "$kit/models"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    : >"$results/log.txt"
    : >"$scratch/skipped"
    : >"$scratch/figures"
    rows=() failed=0 commit=$(cat "$kit/build/commit")
    link_root
    # The plugin lies as it does when installed, and beside the tests as where it was built.
    ln -sfn ../plugins/libgstdeepfake.so "$kit/build/programs/libgstdeepfake.so"
    mkdir -p "$kit/build/plugins/deepfake"
    ln -sfn "$checkout/models/zoo" "$kit/build/plugins/deepfake/models"
    ln -sfn "$kit/runtime/lib/libonnxruntime.so" "$kit/build/plugins/deepfake/libonnxruntime.so"

    libraries=$kit/runtime/lib
    engines=$(find "$kit/tensorrt-$tensorrt/lib" -name 'libnvinfer.so.*' -o -name 'libtensorrt_rtx.so.*' 2>/dev/null || true)
    [ -z "$engines" ] || libraries+=:${engines%/*}
    nvrtc=$(find_nvrtc)
    [ -z "$nvrtc" ] || libraries+=:${nvrtc%/*}
    environment=(
        LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        PATH="$kit/runtime/bin:$PATH"
        GST_PLUGIN_SYSTEM_PATH="$kit/runtime/lib/gstreamer-1.0"
        GST_PLUGIN_SCANNER="$kit/runtime/bin/gst-plugin-scanner"
        GST_PLUGIN_PATH="$kit/build/plugins"
        GST_REGISTRY="$kit/registry.bin"
        ORT_DYLIB_PATH="$kit/runtime/lib/libonnxruntime.so"
        DEEPFAKE_TEST_DATA="$kit/runtime/data"
        DEEPFAKE_NVRTC_LIBRARY="$nvrtc"
        DEEPFAKE_TENSORRT_LIBRARY="$engines"
        GST_DEEPFAKE_MODEL_PATH="$kit/models"
        CRITERION_HOME="$kit/criterion"
        XDG_CACHE_HOME="$kit/cache"
        RUST_BACKTRACE=1
    )
    facts=("$(date -u '+%Y-%m-%d %H:%M UTC'), $(uname -sr), $(nproc) processors")
    have_gpu=no
    if nvidia-smi -L >/dev/null 2>&1; then
        have_gpu=yes
        facts+=("$(nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader | head -n 1)")
    fi
    facts+=("NVRTC: ${nvrtc:-none}" "TensorRT: ${engines:-none}")
    if [ "$have_gpu" = no ]; then row GPU FAILED 0 "nvidia-smi finds none: tests that need one are skipped"; fi
    if [ -z "$nvrtc" ]; then row NVRTC FAILED 0 "not on this machine; pack it with --nvrtc"; fi
    # The kernels' tests do without.
    if [ ! -d "$kit/runtime" ]; then row GStreamer FAILED 0 "not in the kit"; fi
    if [ -z "$engines" ]; then row TensorRT FAILED 0 "kind $tensorrt is not in the kit"; fi

    # The size of the published model, which cannot be shipped.
    large=vox-256-random
    if [ ! -e "$kit/models/$large/manifest.toml" ] && { listed bench "$only" || listed tests "$only"; }; then
        if plain_step "random model" "$checkout/models/train" \
            python3 -m deepfake_train convert fomm --random 1 --preset vox --out "$kit/models/$large"; then
            row "random model" "$(outcome)" "$took" "$([ "$status" = 0 ] || last_words)"
        fi
    fi
    if listed tests "$only"; then run_tests; fi
    if listed sanitizer "$only"; then run_sanitizer; fi
    if listed bench "$only"; then run_benches; fi
    write_table
    echo "$((${#rows[@]} - failed)) passed, $failed failed; $results/table.md"
    [ "$failed" -eq 0 ]
}

main() {
    case ${1:-} in
    pack) shift && pack "$@" ;;
    collect) shift && collect "$@" ;;
    run) shift && run "$@" ;;
    "" | --only | --tensorrt | --match | --limit | --seconds)
        read_run_options "$@"
        read_pack_options --nvrtc --tensorrt "$tensorrt"
        assemble "$checkout/target/gpu-kit"
        run "$checkout/target/gpu-kit" "$checkout/target/gpu-results" "$@"
        ;;
    *) die "unknown command '$1'; see the head of this file" ;;
    esac
}

# In one line, so that the file may change while it runs. The tests of this script only want its functions.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; exit; fi
