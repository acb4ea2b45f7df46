# SPDX-License-Identifier: Apache-2.0
"""Options of the memory bank for `eval` and `bench`: they measure its cost in quality and in time.

Does not know what the settings do; `TrackerConfig` says so, and checks them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from sam2_ros.engine import TrackerConfig
from sam2_ros.errors import UserError


@dataclass(frozen=True)
class MemoryOptions:
    """Settings of `TrackerConfig` by the same names; the defaults are those of the official models.

    Raises UserError: what `TrackerConfig` does not take.
    """

    memory_frames: int = 7
    memory_pooling: int = 1
    memory_every: int = 1

    def __post_init__(self) -> None:
        try:
            self.within(TrackerConfig())
        except ValueError as error:
            raise UserError(str(error)) from None

    def within(self, config: TrackerConfig) -> TrackerConfig:
        """The same configuration with this memory."""
        return replace(config, **asdict(self))

    def as_dict(self) -> dict[str, int]:
        """By name."""
        return asdict(self)

    def words(self) -> str:
        """What differs from the official models, for a title; empty when nothing does."""
        usual = MemoryOptions().as_dict()
        changed = {name: value for name, value in self.as_dict().items() if value != usual[name]}
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in changed.items())
