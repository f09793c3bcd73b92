"""Every crate that is linked or used for building has a licence from this list.

Reads the output of `cargo metadata --format-version 1` from standard input.
"""

import json
import re
import sys

PERMISSIVE = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}


def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression leaves a choice with permissive licences only."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def either() -> bool:
        nonlocal position
        result = both()
        while position < len(tokens) and tokens[position] == "OR":
            position += 1
            result = both() or result
        return result

    def both() -> bool:
        nonlocal position
        result = one()
        while position < len(tokens) and tokens[position] == "AND":
            position += 1
            result = one() and result
        return result

    def one() -> bool:
        nonlocal position
        token = tokens[position]
        position += 1
        if token == "(":
            result = either()
            position += 1
            return result
        if position < len(tokens) and tokens[position] == "WITH":
            token = f"{token} WITH {tokens[position + 1]}"
            position += 2
        return token in PERMISSIVE

    result = either()
    if position != len(tokens):
        raise ValueError(f"not an SPDX expression: {expression}")
    return result


def main() -> int:
    """Prints the licences in use; 1 if a crate has none that is allowed."""
    assert is_permissive("MIT OR GPL-3.0-only") and is_permissive("(MIT OR Apache-2.0) AND Unicode-3.0")
    assert not is_permissive("MIT AND GPL-3.0-only") and not is_permissive("LGPL-2.1-or-later")
    packages = json.load(sys.stdin)["packages"]
    bad = [p for p in packages if not is_permissive(p["license"] or "none")]
    for package in bad:
        print(f"{package['name']} {package['version']}: {package['license']}", file=sys.stderr)
    print(f"{len(packages)} crates, {len(bad)} without a permissive licence")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
