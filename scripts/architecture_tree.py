# SPDX-License-Identifier: Apache-2.0
"""Writes the files of the package into docs/explanation/architecture.md: for each the first line of its docstring.

    python scripts/architecture_tree.py

Knows nothing of what the files do; a test compares the page with what this would write.
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
    """Modules, then packages with theirs, in the order of their names."""
    for source in modules(folder):
        yield f"`{source.relative_to(within).as_posix()}`", first_line(source)
    for package in packages(folder):
        name = f"**`{package.relative_to(within).as_posix()}/`**"
        yield name, f"**{first_line(package / '__init__.py')}**"
        yield from rows(package, within)


def tree() -> str:
    """One table for each package, and one for the files beside them."""
    head = ("file", "what it does")
    parts = [
        f"### sam2_ros/\n\n{table(head, [(f'`{one.name}`', first_line(one)) for one in modules(PACKAGE)])}"
    ]
    for package in packages(PACKAGE):
        about = first_line(package / "__init__.py")
        parts.append(f"### {package.name}/\n\n{about}.\n\n{table(head, rows(package, package))}")
    return "\n\n".join(parts)


def with_tree(page: str) -> str:
    """The page with its tree as the files have it now."""
    return with_generated(page, tree())


if __name__ == "__main__":
    PAGE.write_text(with_tree(PAGE.read_text("utf-8")), "utf-8")
