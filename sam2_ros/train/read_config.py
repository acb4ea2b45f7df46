# SPDX-License-Identifier: Apache-2.0
"""Reads a training configuration from YAML: every key is a field of a dataclass, with the type of the field.

Does not know what the fields mean.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from sam2_ros.errors import UserError
from sam2_ros.media.json_yaml import read_yaml

T = TypeVar("T")
_EXPECTED = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a file. Raises UserError for a missing file, and for content other than a YAML mapping."""
    try:
        content = read_yaml(path, 1 << 24)
    except OSError as error:
        raise UserError(
            f"configuration '{path}' cannot be read ({error.strerror}); expected a YAML file"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path}: lines of `key: value` expected, `data` and `out` at least")
    return content


def fill(kind: type[T], values: Mapping[str, Any], within: str = "") -> T:
    """An instance of the dataclass `kind` with `values` for its fields.

    Raises UserError for an unknown or missing key, a value of another type, and a value that `kind` refuses.
    """
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(known)}"
            raise UserError(f"unknown key '{within}{key}'; {hint}")
    missing = [
        name for name, f in known.items() if name not in values and f.default is f.default_factory is MISSING
    ]
    if missing:
        raise UserError(f"{', '.join(missing)} is not given; see docs/how-to/train.md")
    return kind(**{key: _typed(within + key, value, hints[key]) for key, value in values.items()})


def _typed(name: str, value: Any, hint: Any) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, dict):
            raise UserError(f"{name}: {_shown(value)} given, lines of `key: value` below it expected")
        return fill(hint, value, within=f"{name}: ")  # type: ignore[arg-type]
    if get_origin(hint) is tuple:  # any number of values of one type; a single value needs no brackets
        items = value if isinstance(value, list) else [value]
        return tuple(_typed(name, item, get_args(hint)[0]) for item in items)
    if hint is float and isinstance(value, str):  # YAML reads 5e-6 as text, because it has no decimal point
        try:
            return float(value)
        except ValueError:
            pass
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{name}: {_shown(value)} given, {_EXPECTED[hint]} expected")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
