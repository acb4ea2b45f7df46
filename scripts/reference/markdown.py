# SPDX-License-Identifier: Apache-2.0
"""Markdown for generated pages: tables, and the part of a page that is generated.

Tables have two columns, so that they fit a telephone. Knows nothing of the contents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
BEGIN, END = "<!-- written by scripts/reference_pages.py -->", "<!-- end of what is written -->"


def table(head: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    return "\n".join([f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])


def plain(text: str) -> str:
    """Text for a cell of a table: nothing in it is markup; names and options become code, pages of docs/ links."""
    text = re.sub(
        r"(?<![\w`/.-])(~/[\w/<>]+|[a-z]\w*_\w+)(?![\w`./*-]*[\w`/*])", r"`\1`", " ".join(text.split())
    )
    text = re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)(?![\w`])(?=[^`]*(?:`[^`]*`[^`]*)*$)", r"`\1`", text)
    parts = re.split(r"(`[^`]*`)", text)
    shown = [part if part.startswith("`") else re.sub(r"([*<>\[\]])", r"\\\1", part) for part in parts]
    return re.sub(r"\bdocs/([\w/-]+\.md)", r"[\1](../\1)", "".join(shown)).replace("|", r"\|")


def with_generated(page: str, block: str) -> str:
    """The page with its generated part replaced. ValueError where a page has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"a page without the lines '{BEGIN}' and '{END}': {page[:60]!r}")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"
