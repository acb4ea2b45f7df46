# SPDX-License-Identifier: Apache-2.0
"""Options of the memory bank for `eval` and `bench`, which measure their effect on quality and time.

Does not know what the settings do: `TrackerConfig` documents and checks them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from sam2_ros.engine import TrackerConfig
from sam2_ros.errors import UserError


@dataclass(frozen=True)
class MemoryOptions:
    """Fields of `TrackerConfig` with the same names. The defaults are those of the official models.

    Raises UserError for values that `TrackerConfig` does not accept.
    """

    memory_frames: int = 7
    memory_pooling: int = 1
    memory_every: int = 1
    policies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "policies", tuple(self.policies))  # a list, if read from a file
        try:
            self.within(TrackerConfig())
        except ValueError as error:
            raise UserError(str(error)) from None

    def within(self, config: TrackerConfig) -> TrackerConfig:
        """The configuration with these memory settings."""
        return replace(config, **asdict(self))

    def as_dict(self) -> dict[str, Any]:
        """Setting -> value, as it is read back from JSON."""
        return {**asdict(self), "policies": list(self.policies)}

    def words(self) -> str:
        """The settings that differ from the official models, for a title; empty if none does."""
        usual = MemoryOptions().as_dict()
        changed = {name: value for name, value in self.as_dict().items() if value != usual[name]}
        words = {name: ", ".join(value) if name == "policies" else value for name, value in changed.items()}
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in words.items())
