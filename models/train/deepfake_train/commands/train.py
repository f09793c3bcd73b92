"""``train``: what can be trained, a module a kind."""

from __future__ import annotations

from types import ModuleType

from . import Commands, train_fomm, train_fwa, train_x2face

KINDS: tuple[ModuleType, ...] = (train_fomm, train_fwa, train_x2face)
"""Each has ``add(kinds)``, as a group of commands has."""


def add(commands: Commands) -> None:
    """Adds ``train`` and what it trains."""
    train = commands.add_parser("train", help="train a network; a run folder can be gone on from")
    kinds = train.add_subparsers(required=True, metavar="KIND")
    for kind in KINDS:
        kind.add(kinds)
