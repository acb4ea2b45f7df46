# SPDX-License-Identifier: Apache-2.0
"""How a parameter is declared: one dataclass field with its default, meaning, range, choices and when it takes effect.

Knows nothing of ROS, and not which parameters there are.
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
    """What is known of one parameter.

    Attributes:
        range: (smallest, largest), both allowed; an integer is a multiple of `step` as well.
        choices: the words a string may be; empty: any text.
        when: a new value counts at once ("now"), when the node is configured the next time ("configure"), or only in
            a new process ("start").
        heading: the title of the group that begins with this parameter; empty: it belongs to the one before.
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
        """Why `value`, which has the type of the default, cannot be used, in one line, or None when it can."""
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
    """A dataclass field that is a parameter; the arguments are ParameterSpec's."""
    about = {"description": description, "range": range, "choices": choices, "step": step}
    field: V = dataclasses.field(default=default, metadata={**about, "when": when, "heading": heading})
    return field


def specs_of(dataclass_type: Any) -> dict[str, ParameterSpec]:
    """The parameters that the fields of a dataclass declare, by name and in their order."""
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(dataclass_type)
    return {
        each.name: ParameterSpec(each.name, cast(Value, each.default), **each.metadata) for each in fields
    }
