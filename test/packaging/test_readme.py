"""The README's tree names every file of the package once, and only files there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_tree_names_every_module():
    text = (ROOT / "README.md").read_text()
    tree = re.search(r"```\n(sam2_ros/\n.*?)```", text, re.DOTALL)
    assert tree is not None
    folder, named = ROOT / "sam2_ros", set()
    for line in tree[1].splitlines():
        indent, name = len(line) - len(line.lstrip()), line.split()[0]
        if name.endswith("/") and indent == 2:
            folder = ROOT / "sam2_ros" / name
        elif name.endswith(".py") and indent:
            named.add((folder if indent == 4 else ROOT / "sam2_ros") / name)
    modules = {path for path in (ROOT / "sam2_ros").rglob("*.py") if path.name != "__init__.py"}
    assert sorted(modules - named) == []
    assert sorted(named - modules) == []
