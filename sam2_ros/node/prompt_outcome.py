# SPDX-License-Identifier: Apache-2.0
"""What became of a prompt: applied, applied late, rejected; or that an object was removed.

Knows no ROS and no queue; who listens is given as a function that must not block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from sam2_ros.engine import Prompt

TOPIC, SERVICE, ACTION, DETECTOR, CLICK = "topic", "service", "action", "detector", "click"
STATE_FILE = "state file"
"""Sources of prompts."""


class Outcome(IntEnum):
    """The constants of sam2_ros_msgs/PromptEvent."""

    APPLIED = 0
    LATE = 1
    REJECTED = 2
    REMOVED = 3


@dataclass(frozen=True)
class PromptOutcome:
    """One prompt's outcome, reported once; or the end of one object.

    Attributes:
        id: id of the object; "" for a rejected prompt without one.
        source: where the prompt came from; REMOVED: "service", or "" if the node itself ended the object.
        prompt: the prompt as resolved; None if it could not be read, or an object was removed.
        stamp_ns: stamp of the image it was applied to (REJECTED: made on); 0 = unknown.
        reason: "", or why.
    """

    outcome: Outcome
    id: str
    source: str
    class_id: str = ""
    prompt: Prompt | None = None
    stamp_ns: int = 0
    frame_id: str = ""
    reason: str = ""


Report = Callable[[PromptOutcome], None]


def ignore(outcome: PromptOutcome) -> None:
    """Nobody listens."""
