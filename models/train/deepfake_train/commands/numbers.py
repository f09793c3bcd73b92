"""Numbers of the command line that are refused before anything is done with them."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """A whole number above 0."""
    number = _whole(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return number


def even(text: str) -> int:
    """A positive even number, of things that come in pairs."""
    number = _whole(text)
    if number < 2 or number % 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not an even number above 0")
    return number


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number") from None
