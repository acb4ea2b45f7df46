# SPDX-License-Identifier: Apache-2.0
"""Makes file names from the names that users give: safe on every system, short, and each a different one.

Knows texts only. Opens no file.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

MOST_BYTES = 80
"""Of a name without its suffix: file systems allow 255, and archives and paths need room for more."""
_RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
)
"""Names that Windows does not allow, with any suffix."""
_KEPT = frozenset("-_.")


def safe_file_name(text: str, otherwise: str = "object") -> str:
    """Return a file name without suffix: letters and digits of any script, `-`, `_` and `.`; the rest becomes `_`.

    Never empty, hidden, reserved, or longer than `MOST_BYTES` in UTF-8; has no path separator, no `..` and no `#`.
    Different texts may give the same name: see `unique_file_names`.
    """
    normal = unicodedata.normalize("NFC", text)
    name = "".join(char if char.isalnum() or char in _KEPT else "_" for char in normal)
    while ".." in name:
        name = name.replace("..", "_")
    name = name.encode("utf-8", "ignore")[:MOST_BYTES].decode("utf-8", "ignore").strip("._")
    if not name:
        return otherwise
    return f"_{name}" if name.split(".")[0].lower() in _RESERVED else name


def unique_file_names(texts: Iterable[str], otherwise: str = "object") -> list[str]:
    """Return a safe file name for each text; equal ones get `-2`, `-3`. Upper and lower case count as equal."""
    names: list[str] = []
    used: set[str] = set()
    for text in texts:
        name = wanted = safe_file_name(text, otherwise)
        count = 1
        while name.casefold() in used:
            count += 1
            name = f"{wanted}-{count}"
        used.add(name.casefold())
        names.append(name)
    return names
