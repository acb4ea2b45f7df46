# SPDX-License-Identifier: Apache-2.0
"""Reads JSON and YAML files; an invalid file raises a ValueError of one line.

Knows the two formats; does not know what a file should contain.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 1 << 30
MAX_VALUES = 1_000_000
"""Limit of the values of a YAML file after its aliases are expanded: nine lines can expand to gigabytes."""


def read_json(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Return the content of a JSON file. Raises OSError, or ValueError with the reason."""
    text = _text(path, max_bytes)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_yaml(path: Path, max_bytes: int = MAX_BYTES) -> Any:
    """Return the content of a YAML file. Raises OSError, or ValueError with the reason."""
    text = _text(path, max_bytes)
    try:
        content = yaml.safe_load(text)
        if _values(content, {}) > MAX_VALUES:
            raise ValueError(f"its aliases expand to more than {MAX_VALUES:,} values")
    except RecursionError:
        raise ValueError("it is nested too deeply, or within itself") from None
    except Exception as error:  # constructors raise other errors: for dates, tags, numbers of 5,000 digits
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None
    return content


def _text(path: Path, max_bytes: int) -> str:
    with path.open("rb") as file:  # limited, as a device file has no end
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ValueError(f"it is longer than {max_bytes:,} bytes")
    return content.decode("utf-8-sig")


def _values(content: Any, known: dict[int, int]) -> int:
    """Count the values with every alias expanded."""
    if not isinstance(content, (dict, list)):
        return 1
    if id(content) not in known:
        inside = content if isinstance(content, list) else [*content, *content.values()]
        known[id(content)] = 1 + sum(_values(one, known) for one in inside)
    return known[id(content)]
