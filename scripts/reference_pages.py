# SPDX-License-Identifier: Apache-2.0
"""Writes every file that is generated from the code: reference pages, the tree of the package, config/desktop.yaml.

    python scripts/reference_pages.py

Knows only the list of generators. A test compares the files with the output of this script.
"""

from __future__ import annotations

from pathlib import Path

import architecture_tree
from reference import commands, parameters, topics


def generated_files() -> dict[Path, str]:
    """Content of each generated file, by its path."""
    tree = architecture_tree.PAGE
    return {
        tree: architecture_tree.with_tree(tree.read_text("utf-8")),
        **parameters.generated_files(),
        **topics.generated_files(),
        **commands.generated_files(),
    }


if __name__ == "__main__":
    for path, content in generated_files().items():
        if not path.exists() or path.read_text("utf-8") != content:
            path.write_text(content, "utf-8")
            print(f"{path.relative_to(architecture_tree.ROOT)}: written")
