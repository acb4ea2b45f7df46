# SPDX-License-Identifier: Apache-2.0
"""Prepares docstrings and signatures for autodoc, where Sphinx would misread them.

Knows nothing of their contents.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

BEFORE_NAPOLEON = 400


def join_names(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """`width, height: in pixels` is one entry for two names; Sphinx would take the first for a type."""
    for index, line in enumerate(lines):
        if found := re.match(r"( +)(\w+(?:, \w+)+)(: .*)", line):
            lines[index] = f"{found[1]}{found[2].replace(', ', '/')}{found[3]}"


def without_factories(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str, returns: str
) -> Any:
    """`<factory>`, the default of a dataclass field, is no Python: the signature would stay one long line."""
    return (signature.replace("<factory>", "..."), returns) if signature else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", join_names, priority=BEFORE_NAPOLEON)
    app.connect("autodoc-process-signature", without_factories)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
