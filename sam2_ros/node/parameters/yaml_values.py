# SPDX-License-Identifier: Apache-2.0
"""Converts a value as YAML reads it to the declared type: YAML reads `off` as a boolean and `3` as an integer.

Does not know what a parameter is for, or which values are allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from sam2_ros.errors import UserError

from .spec import ParameterSpec, Value

# Declared later, by rclpy itself or by libraries that subscribe on the node's behalf.
ROS_OWN = ("use_sim_time", "start_type_description_service", "enable_logger_service")
ROS_PREFIXES = ("qos_overrides.", "diagnostic_updater.")
ALIKE = 0.6  # difflib ratio, 0..1, from which a similar name is suggested


def as_declared(spec: ParameterSpec, value: Any) -> Value:
    """`value` converted to the type of the parameter's default; arrays become tuples.

    Conversions: false > "off" where that is a choice, integer > float, whole float > integer, None > empty array.
    Raises UserError for anything else: what was given, what was expected, how to write it.
    """
    made = _converted(spec, value)
    if made is None:
        raise UserError(f"parameter {spec.name}: got {_seen(value)}, expected {_remedy(spec, value)}")
    return made


def _converted(spec: ParameterSpec, value: Any) -> Value | None:
    """None if the value cannot be converted."""
    default = spec.default
    if isinstance(default, tuple):
        if isinstance(value, (str, bool, int, float)):
            return None
        if value is None or len(value) == 0:
            return default  # ROS has no empty array of text
        return tuple(value) if all(isinstance(each, str) for each in value) else None
    if isinstance(default, bool) or isinstance(value, bool):
        if value is False and "off" in spec.choices:
            return "off"
        return value if isinstance(default, bool) and isinstance(value, bool) else None
    if isinstance(default, float) and isinstance(value, int):
        return float(value)
    if isinstance(default, int) and isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, type(default)) else None


def _seen(value: Any) -> str:
    """The value in words, with its YAML type."""
    if value is None:
        return "no value"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"the text '{value}'"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return f"the list {list(value)}"


def _remedy(spec: ParameterSpec, value: Any) -> str:
    name, default = spec.name, spec.default
    if isinstance(default, bool):
        return f"true or false, without quotes: {name}: {str(default).lower()}"
    if isinstance(default, (int, float)):
        kind = "a whole number" if isinstance(default, int) else "a number"
        return f"{kind}, without quotes: {name}: {default}"
    if isinstance(default, tuple):
        return f'a list of texts in quotes: {name}: ["cup", "5"], on a command line -p "{name}:=[\'cup\', \'5\']"'
    word = next((choice for choice in spec.choices if choice != "off"), "")
    word = word or ("on" if value is True else "no" if value is False else value if value is not None else "")
    what = f"one of {', '.join(spec.choices)}" if spec.choices else "text"
    why = "; YAML reads yes, no, on, off, true and false as booleans" if isinstance(value, bool) else ""
    return f'{what}{why}; in quotes it is text: {name}: "{word}", on a command line -p "{name}:=\'{word}\'"'


def unknown_names(given: Iterable[str], known: Iterable[str]) -> list[str]:
    """One warning for each name that is neither in `known` nor one of ROS, with the most similar known name."""
    names = list(known)
    lines = []
    for name in given:
        if name in names or name in ROS_OWN or name.startswith(ROS_PREFIXES):
            continue
        alike = difflib.get_close_matches(name.lower().replace("-", "_"), names, n=1, cutoff=ALIKE)
        meant = f"did you mean {alike[0]}?" if alike else "`ros2 param list` shows the names it has"
        lines.append(
            f"parameter {name}: this node has no parameter of this name, the value has no effect; {meant}"
        )
    return lines
