"""Command line: ``python -m deepfake_train --help``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .commands import blend, convert, evaluate, export, measure, pictures, prepare, train

TRACEBACK = "DEEPFAKE_TRAIN_TRACEBACK"
"""Environment variable that has errors in what was given shown with their traceback too."""
INTERRUPTED = 130
"""Status of what Ctrl-C ended, as shells have it."""
GROUPS = (blend, convert, evaluate, export, measure, pictures, prepare, train)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; its errors are raised."""
    parser = argparse.ArgumentParser(
        prog="deepfake_train", description=__doc__, epilog=f"{TRACEBACK}=1 shows where errors come from."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in GROUPS:
        group.add(commands)
    parsed = parser.parse_args(arguments)
    parsed.run(parsed)


def run(arguments: Sequence[str] | None = None) -> None:
    """As `main`, but what is wrong with files or options ends the program with a message and status 1.

    Errors of the program itself keep their traceback. Ctrl-C ends it with status 130.
    """
    try:
        main(arguments)
    except KeyboardInterrupt as interrupt:
        print(f"deepfake_train: {interrupt if interrupt.args else 'interrupted'}", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if os.environ.get(TRACEBACK) or not _is_about_input(error):
            raise
        raise SystemExit(f"deepfake_train: {str(error) or type(error).__name__}") from None


def _is_about_input(error: Exception) -> bool:
    # classes of this package are known by their module: to import them here would import PyTorch for --help
    own = type(error).__module__.partition(".")[0] == "deepfake_train"
    return own or isinstance(error, (OSError, ValueError))


if __name__ == "__main__":
    run()
