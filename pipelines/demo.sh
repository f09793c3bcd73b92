#!/usr/bin/env bash
# The main job on real video, from a fresh Debian 12 to finished files. Further runs only build what changed.
#
#   pipelines/demo.sh [--driver FILE] [--portrait FILE] [--out DIR]
#
# Without arguments a woman making faces drives the portrait that the project ships, into target/demo.
set -euo pipefail
. "$(dirname "$0")/setup.sh"

driver='' portrait=$root/pipelines/assets/portrait.jpg out=$target/demo
while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,6s/^# \{0,1\}//p' "$root/pipelines/demo.sh"; exit 0 ;;
        --driver | --portrait | --out)
            [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
            declare "${1#--}=$2"
            shift 2
            ;;
        *) echo "what is '$1'? See $0 --help" >&2; exit 2 ;;
    esac
done

set_up
build_plugin
"$target/release/examples/demo" --driver "${driver:-$DEEPFAKE_TEST_DATA/WolfgangLanger_Pexels.mp4}" \
    --portrait "$portrait" --out "$out"
