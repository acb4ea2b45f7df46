# SPDX-License-Identifier: Apache-2.0
"""Checks which text can be a name, and shows any text as one readable line.

Knows characters only: nothing of prompts, files or fonts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# Controls, halves of surrogate pairs, line and paragraph separators: none of them can be seen, or sent as UTF-8.
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
_TURNS_AROUND = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def text_problem(text: object) -> str:
    """Why something cannot be a name in files and messages; "" when it can.

    Python makes a lone surrogate of bytes that are no UTF-8 and of half an escape such as ``"\\ud800"`` in JSON: no
    encoder takes it, and libraries in C++ may end the process over it. A NUL ends a text in C and in ROS messages.
    """
    if not isinstance(text, str):
        return f"is of type {type(text).__name__}"
    if text.isascii():
        return "has a NUL character" if "\0" in text else ""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "is not UTF-8"
    return "has a NUL character" if "\0" in text else ""


def counted(count: int, what: str) -> str:
    """`1 object`, `2 objects`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def some(names: Iterable[object], most: int = 6) -> str:
    """The first few names, and how many more there are: `a, b, c and 4 more`."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def readable(text: str) -> str:
    """The text in one line: what cannot be seen or encoded is written as an escape, ``\\n``, ``\\xff``, ``\\ud800``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name or an argument that is no UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character in _TURNS_AROUND or unicodedata.category(character) in _UNSEEN:
        return character.encode("unicode_escape").decode("ascii")
    return character
