# SPDX-License-Identifier: Apache-2.0
"""Writes the table of files in docs/explanation/architecture.md: for each the first line of its docstring.

    python scripts/architecture_tree.py

Knows nothing of what the files do. A test compares the page with the output of this script.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from reference.markdown import plain, table, with_generated

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sam2_ros"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"


def first_line(source: Path) -> str:
    """The first line of a file's docstring, without its full stop."""
    docstring = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
    return plain(docstring.partition("\n")[0].rstrip("."))


def modules(folder: Path) -> list[Path]:
    return sorted(source for source in folder.glob("*.py") if not source.name.startswith("__"))


def packages(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/__init__.py"))


def rows(folder: Path, within: Path) -> Iterator[tuple[str, str]]:
    """The modules of a folder, then its packages with their modules, sorted by name."""
    for source in modules(folder):
        yield f"`{source.relative_to(within).as_posix()}`", first_line(source)
    for package in packages(folder):
        name = f"**`{package.relative_to(within).as_posix()}/`**"
        yield name, f"**{first_line(package / '__init__.py')}**"
        yield from rows(package, within)


def tree() -> str:
    """One table for the modules of sam2_ros itself, and one for each package."""
    head = ("file", "what it does")
    parts = [
        f"### sam2_ros/\n\n{table(head, [(f'`{one.name}`', first_line(one)) for one in modules(PACKAGE)])}"
    ]
    for package in packages(PACKAGE):
        about = first_line(package / "__init__.py")
        parts.append(f"### {package.name}/\n\n{about}.\n\n{table(head, rows(package, package))}")
    return "\n\n".join(parts)


def with_tree(page: str) -> str:
    """The page with the current tree."""
    return with_generated(page, tree())


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text("utf-8")), "utf-8")
