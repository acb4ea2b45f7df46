# SPDX-License-Identifier: Apache-2.0
"""Checks whether a text can be a name, and shows any text as one readable line.

Knows characters only: nothing of prompts, files or fonts.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# Unicode categories that are invisible or cannot be sent as UTF-8: controls, surrogates, line and paragraph separators.
_INVISIBLE = ("Cc", "Cs", "Zl", "Zp")
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def text_problem(text: object) -> str:
    """Say why a value cannot be a name in files and messages; "" if it can.

    Python turns bytes that are not UTF-8, and half of an escaped pair such as ``"\\ud800"`` in JSON, into a lone
    surrogate. No encoder accepts it, and C++ libraries may abort the process. NUL ends a text in C and in ROS messages.
    """
    if not isinstance(text, str):
        return f"is of type {type(text).__name__}"
    if text.isascii():
        return "has a NUL character" if "\0" in text else ""
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "is not UTF-8"
    return "has a NUL character" if "\0" in text else ""


def counted(count: int, what: str) -> str:
    """Format a count: `1 object`, `2 objects`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def some(names: Iterable[object], most: int = 6) -> str:
    """Join the first `most` names and count the rest: `a, b, c and 4 more`."""
    shown = [str(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def readable(text: str) -> str:
    """Return the text as one line; invisible and unencodable characters become escapes: ``\\n``, ``\\xff``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte of a file name or an argument that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if character in _BIDI_CONTROLS or unicodedata.category(character) in _INVISIBLE:
        return character.encode("unicode_escape").decode("ascii")
    return character
