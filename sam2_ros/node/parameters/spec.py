# SPDX-License-Identifier: Apache-2.0
"""Declares a parameter as a dataclass field: default, description, range, choices, and when a new value takes effect.

Knows nothing of ROS, and does not know which parameters there are.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

Value = bool | int | float | str | tuple[str, ...]
When = Literal["now", "configure", "start"]
V = TypeVar("V", bound=Value)


@dataclass(frozen=True)
class ParameterSpec:
    """The declaration of one parameter.

    Attributes:
        range: (minimum, maximum), both allowed; an integer must also be a multiple of `step`.
        choices: allowed values of a string; empty: any text.
        when: when a new value takes effect: at once ("now"), at the next configure ("configure"), or only in a new
            process ("start").
        heading: title of the group that begins with this parameter; empty: it belongs to the group before.
    """

    name: str
    default: Value
    description: str
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    step: int = 1
    when: When = "configure"
    heading: str = ""

    def problem(self, value: Any) -> str | None:
        """Error message for an invalid `value` (already of the default's type), or None if it is valid."""
        if self.choices and value not in self.choices:
            return f"parameter {self.name}: got '{value}', expected one of {', '.join(self.choices)}"
        if self.range is not None and not self.range[0] <= value <= self.range[1]:
            low, high = self.range
            return f"parameter {self.name}: got {value}, expected a value from {low} to {high}"
        if self.step > 1 and value % self.step:
            near = max(self.step, round(value / self.step) * self.step)
            return (
                f"parameter {self.name}: got {value}, expected 0 or a multiple of {self.step}, such as {near}"
            )
        return None


def parameter(
    default: V,
    description: str,
    *,
    range: tuple[float, float] | None = None,
    choices: tuple[str, ...] = (),
    step: int = 1,
    when: When = "configure",
    heading: str = "",
) -> V:
    """A dataclass field that declares a parameter; the arguments are those of `ParameterSpec`."""
    about = {"description": description, "range": range, "choices": choices, "step": step}
    field: V = dataclasses.field(default=default, metadata={**about, "when": when, "heading": heading})
    return field


def specs_of(dataclass_type: Any) -> dict[str, ParameterSpec]:
    """Name -> declaration of each field of the dataclass, in order."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(dataclass_type)
    return {
        each.name: ParameterSpec(each.name, cast(Value, each.default), **each.metadata) for each in fields
    }
