#!/usr/bin/env bash
# Models of face reenactment side by side in one video: the portrait, the driver, and what X2Face and First Order Motion
# make of the two. From a fresh Debian 12 to a finished file; further runs only build what changed.
#
#   pipelines/compare.sh [--portrait FILE]... [--driver FILE] [--x2face MODEL] [--fomm MODEL] [--out FILE]
#
#     --portrait FILE    picture of the source; may be given up to 8 times with pictures of one person, of which X2Face makes
#                        one face and First Order Motion takes the first (the portrait that the project ships)
#     --driver FILE      video of the driver (a woman making faces)
#     --x2face MODEL     model of kind x2face: a name in the zoo, or the path of a manifest or its folder (x2face-lite)
#     --fomm MODEL       model of kind fomm, likewise (fomm-lite)
#     --out FILE         what to write (target/compare/compare.mp4)
#
# The published X2Face becomes a model by
#   (cd models/train && python -m deepfake_train convert x2face x2face_model.pth --out x2face)
# and is used by --x2face models/train/x2face.
set -euo pipefail
. "$(dirname "$0")/setup.sh"

usage() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$root/pipelines/compare.sh"; }

driver='' x2face=x2face-lite fomm=fomm-lite out=$target/compare/compare.mp4 portraits=()
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --driver | --portrait | --x2face | --fomm | --out)
            [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
            if [ "$1" = --portrait ]; then portraits+=("$2"); else declare "${1#--}=$2"; fi
            shift 2
            ;;
        *) echo "what is '$1'? See $0 --help" >&2; exit 2 ;;
    esac
done
[ ${#portraits[@]} -gt 0 ] || portraits=("$root/pipelines/assets/portrait.jpg")

# Where the elements look for a name, as models/src/zoo.rs has it for the plugin in target/plugins.
model_folders() {
    tr : '\n' <<<"${GST_DEEPFAKE_MODEL_PATH:-}" | sed '/^$/d'
    printf '%s/share/gst-plugin-deepfake/models\n' "${target%/*}" "${target%/*/*}" /usr/local /usr
    echo "$root/models/zoo"
}

# A name in the zoo is told from a path as the elements do it.
is_missing() {
    case $1 in
        '') return 0 ;;
        */* | *.toml)
            [ ! -f "$1" ] && [ ! -f "$1/manifest.toml" ]
            return
            ;;
    esac
    local folder
    while read -r folder; do
        [ ! -f "$folder/$1/manifest.toml" ] || return 1
    done < <(model_folders)
}

# Before the set-up and the build, which take minutes.
if is_missing "$x2face"; then
    cat >&2 <<EOF
There is no X2Face model '$x2face'. Pass one by --x2face: a name in the zoo, or the path of a manifest.
The published checkpoint becomes one by
    (cd models/train && python -m deepfake_train convert x2face x2face_model.pth --out x2face)
    pipelines/compare.sh --x2face models/train/x2face
and one of random weights, which shows the way but no face, lies in models/tests/data/x2face-smallest.
EOF
    exit 1
fi
if is_missing "$fomm"; then
    cat >&2 <<EOF
There is no First Order Motion model '$fomm'. Pass one by --fomm: a name in the zoo, or the path of a manifest.
EOF
    exit 1
fi

set_up
build_plugin
arguments=()
for portrait in "${portraits[@]}"; do arguments+=(--portrait "$portrait"); done
"$target/release/examples/compare" --driver "${driver:-$DEEPFAKE_TEST_DATA/WolfgangLanger_Pexels.mp4}" \
    "${arguments[@]}" --x2face "$x2face" --fomm "$fomm" --out "$out"
