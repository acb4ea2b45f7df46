# SPDX-License-Identifier: Apache-2.0
"""Writes the tree of the package into docs/explanation/architecture.md: one line for each file, its docstring's first.

    python scripts/architecture_tree.py

Knows nothing of what the files do; a test compares the page with what this would write.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
WIDTH = 28  # of the column of names


def first_line(source: Path) -> str:
    """The first line of a file's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
    return docstring.partition("\n")[0].rstrip(".")


def tree(folder: Path, depth: int = 1) -> list[str]:
    """Lines for a package's modules, then for its packages, in the order of their names."""
    lines = []
    for source in sorted(folder.glob("*.py")):
        if not source.name.startswith("__"):
            lines.append(f"{'  ' * depth + source.name:{WIDTH}} {first_line(source)}")
    for package in sorted(path.parent for path in folder.glob("*/__init__.py")):
        lines.append(f"{'  ' * depth + package.name + '/':{WIDTH}} {first_line(package / '__init__.py')}")
        lines += tree(package, depth + 1)
    return lines


def with_tree(page: str) -> str:
    """The page with its tree as the files have it now."""
    block = "\n".join(["```", "sam2_ros/", *tree(ROOT / "sam2_ros"), "```"])
    return re.sub(r"```\nsam2_ros/\n.*?```", lambda _: block, page, count=1, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text("utf-8")), "utf-8")
