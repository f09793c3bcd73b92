"""Results as Markdown tables and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def number(value: float | None, digits: int = 3) -> str:
    """A number for people; nothing where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    if any(len(line) != len(header) for line in lines):
        raise ValueError("rows have to be as long as the header")
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def write_results(results: Mapping[str, Any], path: Path) -> None:
    """As JSON, numbers with six digits, what is not a number as null."""
    path.write_text(json.dumps(_plain(results), indent=1) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
