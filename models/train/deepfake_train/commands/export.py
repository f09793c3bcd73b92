"""``export``: a run folder to a zoo folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import Commands


def _export(arguments: argparse.Namespace) -> None:
    from ..training.export import export

    kind = export(
        arguments.run_folder,
        arguments.out,
        licence=arguments.licence,
        origin=arguments.origin,
        compact=arguments.compact,
    )
    print(f"{arguments.out}: a model of kind {kind}; use it by model={arguments.out / 'manifest.toml'}")


def add(commands: Commands) -> None:
    """Adds ``export``."""
    parser = commands.add_parser(
        "export",
        help="a run folder to a zoo folder",
        description="Writes graphs, half-precision twins and the manifest of what was trained so far. "
        "The model is named after its folder.",
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder that train wrote")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--licence", metavar="SPDX", help="of the weights; left out: not known")
    parser.add_argument("--origin", help="of the weights, in words; left out: the run and its steps")
    parser.add_argument(
        "--compact", action="store_true", help="X2Face: weights stored in half precision, and no twins"
    )
    parser.set_defaults(run=_export)
