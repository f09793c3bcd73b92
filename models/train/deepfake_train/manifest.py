"""The manifest of a zoo model: what the Rust side must know to feed its networks and read their outputs."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FILE_NAME = "manifest.toml"
# of a checkpoint whose licence nobody said
UNKNOWN_LICENCE = "LicenseRef-checkpoint"


def half_role(role: str) -> str:
    """Role of the half-precision twin of a file, which has the same float32 inputs and outputs."""
    return f"{role}-fp16"


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def converted_from(checkpoint: Path) -> str:
    """The origin of a model of which nothing is known but its checkpoint."""
    return f"Converted from {checkpoint.name}, SHA-256 {sha256(checkpoint)}."


def licence_text(name: str, licence: str, origin: str) -> str:
    """The file LICENCE of a converted checkpoint."""
    if licence != UNKNOWN_LICENCE:
        return f"{name}\n{origin}\n\nSPDX-License-Identifier: {licence}\n"
    return f"""{name}
{origin}

The weights are under the terms of whoever published the checkpoint; converting them changes nothing about
that. Put those terms here, and their SPDX expression into manifest.toml, before you pass this folder on.
"""


def write_unless_there(path: Path, text: str) -> None:
    """Writes a licence or a card, but not over one by somebody who knew more."""
    if not path.exists():
        path.write_text(text, encoding="utf-8")


def square_input(
    side: int,
    *,
    channels: str = "rgb",
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
) -> dict[str, Any]:
    """The section ``input`` of a network that takes square planar pictures, in 0..1 unless said otherwise."""
    return {
        "width": side,
        "height": side,
        "layout": "nchw",
        "channels": channels,
        "mean": list(mean),
        "std": list(std),
    }


@dataclass(frozen=True)
class Manifest:
    """One model; ``files`` maps roles to files beside the manifest, ``sections`` are written as they are."""

    name: str
    kind: str
    summary: str
    licence: str
    origin: str
    files: Mapping[str, str]
    sections: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Writes ``manifest.toml`` into the folder that holds the files."""
        model = {key: getattr(self, key) for key in ("name", "kind", "summary", "licence", "origin")}
        parts = [_table("[model]", model)]
        for role, name in self.files.items():
            parts.append(_table("[[file]]", {"role": role, "path": name, "sha256": sha256(folder / name)}))
        parts += [_table(f"[{title}]", content) for title, content in self.sections.items()]
        (folder / FILE_NAME).write_text("\n".join(parts), encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a zoo folder as plain dictionaries."""
    return tomllib.loads((folder / FILE_NAME).read_text(encoding="utf-8"))


class WrongKindError(ValueError):
    """A model of the zoo is no such model as is asked for."""


def read_kind(folder: Path, *kinds: str) -> dict[str, Any]:
    """The manifest of a model of one of these kinds; raises ``WrongKindError`` for another one."""
    manifest = read(folder)
    found = manifest["model"]["kind"]
    if found not in kinds:
        wanted = " or ".join(f"'{kind}'" for kind in kinds)
        raise WrongKindError(
            f"{folder}: a model of kind {wanted} is wanted, and this is one of kind '{found}'"
        )
    return manifest


def network_path(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """The graph of a model that consists of one, in full precision."""
    (path,) = [entry["path"] for entry in manifest["file"] if entry["role"] == "network"]
    return folder / path


def _table(header: str, content: Mapping[str, Any]) -> str:
    return "\n".join([header, *(f"{key} = {_value(value)}" for key, value in content.items()), ""])


def _character(character: str) -> str:
    # a basic string of TOML holds neither quotes nor line ends and other control characters as they are
    if character in '\\"':
        return "\\" + character
    control = character < " " or character == "\x7f"
    return f"\\u{ord(character):04x}" if control else character


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(map(_character, value)) + '"'
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Sequence):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    raise TypeError(f"cannot write {value!r} to a manifest")
