"""The command line, a module a group of commands; each imports what it runs when it runs it.

So no command needs what only another one does (PyTorch, OpenCV, TensorFlow).
"""

from __future__ import annotations

import argparse
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""What ``ArgumentParser.add_subparsers`` returns."""
