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
    """Text that Markdown shows as it is, code in backticks excepted; fits a cell of a table."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    shown = [part if part.startswith("`") else re.sub(r"([*<>\[\]])", r"\\\1", part) for part in parts]
    return "".join(shown).replace("|", r"\|")


def with_generated(page: Path, block: str) -> str:
    """The page with its generated part replaced."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page.relative_to(ROOT)}: expected the lines '{BEGIN}' and '{END}'")
    return f"{before}{BEGIN}\n\n{block}\n\n{END}{after}"
