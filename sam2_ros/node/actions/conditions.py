# SPDX-License-Identifier: Apache-2.0
"""What a goal of ~/track_until waits for: an object that is visible, lost or still, or a time.

Knows the states and positions of one object, image by image; no rclpy, and not how a goal ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from sam2_ros.engine import ObjectState, PromptError

from .still_window import StillWindow


class Until(IntEnum):
    """The constants of sam2_ros_msgs/TrackUntil."""

    VISIBLE = 0
    LOST = 1
    STABLE = 2
    DURATION = 3


@dataclass
class Condition:
    """What one goal waits for, and how far it is. `met` is called with each image in order.

    Attributes:
        timeout_s: steady seconds until the goal ends; 0 = never. DURATION: the duration.
        stable_for_s: seconds by the images' stamps.
    """

    until: Until
    timeout_s: float
    stable_for_s: float

    def __post_init__(self) -> None:
        self._window = StillWindow(self.stable_for_s)

    @classmethod
    def of_goal(cls, goal: Any, use_3d: bool) -> Condition:
        """The condition of a TrackUntil.Goal. PromptError if it can never be met."""
        timeout_s, stable_for_s = _seconds(goal.timeout), _seconds(goal.stable_for)
        if goal.until not in list(Until):
            known = ", ".join(f"{each.name}={each.value}" for each in Until)
            raise PromptError(f"until = {goal.until}: expected one of {known}")
        until = Until(goal.until)
        if timeout_s < 0:
            raise PromptError(f"timeout = {timeout_s:g} s: expected a positive time, or zero for no limit")
        if until == Until.DURATION and not timeout_s:
            raise PromptError("timeout = 0 s: expected the time to track for, as until is DURATION")
        if until == Until.STABLE and stable_for_s <= 0:
            raise PromptError(
                f"stable_for = {stable_for_s:g} s: expected a positive time, as until is STABLE"
            )
        if until == Until.STABLE and not use_3d:
            raise PromptError(
                "until is STABLE: expected a node that knows positions; set its parameter use_3d and connect "
                "depth_image"
            )
        return cls(until, timeout_s, stable_for_s)

    def met(self, status: Any, stamp_s: float, within_m: float) -> str:
        """Why the goal has succeeded with this ObjectStatus; "" if it has not.

        Args:
            stamp_s: stamp of the image.
            within_m: greatest distance of a still object's positions from their median.
        """
        state = ObjectState(status.state)
        if self.until == Until.VISIBLE and state == ObjectState.TRACKING:
            return "visible"
        if self.until == Until.LOST and state == ObjectState.LOST:
            return f"lost: not visible for {status.age:.1f} s"
        if self.until == Until.STABLE:
            return self._still(status, state, stamp_s, within_m)
        return ""

    def _still(self, status: Any, state: ObjectState, stamp_s: float, within_m: float) -> str:
        if state != ObjectState.TRACKING or not status.has_position:
            self._window.clear()
            return ""
        at = status.pose.position
        still_s = self._window.still_s(stamp_s, (at.x, at.y, at.z), within_m)
        return f"still for {still_s:.2f} s within {within_m:g} m" if still_s else ""

    def timed_out(self, object_id: str, last: Any | None) -> str:
        """Why the goal ends at its time; `last`: the newest ObjectStatus, None if no image has shown the object."""
        if self.until == Until.DURATION:
            return f"tracked for {self.timeout_s:g} s"
        seen = "no image has shown it yet" if last is None else f"its state is {ObjectState(last.state).name}"
        if self.until == Until.STABLE and last is not None and not last.has_position:
            seen += ", without a position: depth on /diagnostics says why"
        return f"'{object_id}' was not {self.until.name} within {self.timeout_s:g} s; {seen}"


def _seconds(duration: Any) -> float:
    return float(duration.sec + duration.nanosec * 1e-9)
