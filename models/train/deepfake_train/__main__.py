"""Command line: ``python -m deepfake_train --help``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .commands import blend, convert, evaluate, export, measure, pictures, prepare, train

GROUPS = (blend, convert, evaluate, export, measure, pictures, prepare, train)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="deepfake_train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    parsed = parser.parse_args(arguments)
    parsed.run(parsed)


if __name__ == "__main__":
    main()
