# SPDX-License-Identifier: Apache-2.0
"""Writes Markdown for generated pages: tables, and the generated part of a page.

Tables have two columns, so that they fit a phone. Knows nothing of the contents.
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
    """Text for a table cell: escapes markup, shows names and options as code, and links pages of docs/."""
    text = re.sub(
        r"(?<![\w`/.-])(~/[\w/<>]+|[a-z]\w*_\w+)(?![\w`./*-]*[\w`/*])", r"`\1`", " ".join(text.split())
    )
    text = re.sub(r"(?<![\w`-])(--[a-z][a-z-]*)(?![\w`])(?=[^`]*(?:`[^`]*`[^`]*)*$)", r"`\1`", text)
    parts = re.split(r"(`[^`]*`)", text)
    shown = [part if part.startswith("`") else re.sub(r"([*<>\[\]])", r"\\\1", part) for part in parts]
    return re.sub(r"\bdocs/([\w/-]+\.md)", link, "".join(shown)).replace("|", r"\|")


def link(page: re.Match[str]) -> str:
    """A link to a page of docs/, with the page's name as its text: `how-to/train-nano.md` becomes `train nano`."""
    return f"[{Path(page[1]).stem.replace('-', ' ')}](../{page[1]})"


def with_generated(page: str, block: str) -> str:
    """The page with its generated part replaced. ValueError if it has none."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"a page without the lines '{BEGIN}' and '{END}': {page[:60]!r}")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"
