#!/usr/bin/env bash
# What a reviewer should not have to say: formatting, lints, documentation, licences.
set -euo pipefail
cd "$(dirname "$0")/.."
. pipelines/setup.sh

set_up
make_venv venv-tools "$root/models/train/requirements-test.txt"

say "formatting"
cargo fmt --all --check
"$target/venv-tools/bin/ruff" format --check --config models/train/pyproject.toml models/train tests
say "lints"
"$target/venv-tools/bin/ruff" check --config models/train/pyproject.toml models/train tests
cargo clippy --locked --workspace --all-targets -- -D warnings
say "documentation"
RUSTDOCFLAGS='-D warnings' cargo doc --locked --workspace --no-deps --quiet
say "licences"
cargo metadata --locked --format-version 1 | /usr/bin/python3 tests/licences.py
