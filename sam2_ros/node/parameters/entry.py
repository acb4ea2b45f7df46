"""What is known of one parameter of the node: its name, default, meaning and the values it may have.

Knows nothing of ROS, and not which parameters there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Value = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True)
class ParameterEntry:
    """One row of the table.

    `range` is (smallest, largest), both allowed, and an integer a multiple of `step`; `choices` are the words a
    string may be.
    """

    name: str
    default: Value
    description: str
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True
    step: int = 1

    def problem(self, value: Any) -> str | None:
        """Why `value` cannot be used, in one line, or None when it can."""
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
