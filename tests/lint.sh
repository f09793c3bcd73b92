#!/usr/bin/env bash
# What a reviewer should not have to say: formatting, lints, documentation, licences.
set -euo pipefail
cd "$(dirname "$0")/.."
. pipelines/setup.sh

set_up
make_venv venv-tools "$root/models/train/requirements-test.txt"

say "formatting"
cargo fmt --all --check
ruff=$target/venv-tools/bin/ruff
(cd models/train && "$ruff" format --check .)
"$ruff" format --check --config models/train/pyproject.toml tests
say "types"
(cd models/train && "$target/venv-tools/bin/mypy")
say "lints"
(cd models/train && "$ruff" check .)
"$ruff" check --config models/train/pyproject.toml tests
cargo clippy --locked --workspace --all-targets -- -D warnings
say "documentation"
RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --quiet
say "licences"
cargo metadata --locked --format-version 1 | /usr/bin/python3 tests/licences.py
