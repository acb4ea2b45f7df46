# SPDX-License-Identifier: Apache-2.0
"""Clicks on topics: pixels as image views send them, and points in metres as 3D views do, become prompts.

Knows messages and frames; does not know how a point is projected or when a prompt is processed. A point in metres whose
transform has not come is tried again by a timer: neither the executor nor the inference thread waits for it.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, PointStamped
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile

from sam2_ros.engine import Prompt, PromptError
from sam2_ros.errors import UserError

from .convert import stamp_to_ns
from .limits import shown
from .parameters.declared import DeclaredParameters
from .prompt_outcome import CLICK, Outcome, PromptOutcome
from .prompt_queue import PromptQueue, PromptRequest
from .qos import subscribe
from .requests import Requests
from .spatial.location import NoPositionError
from .spatial.point_projector import PointProjector, WorldPoint

RETRY_PERIOD_S = 0.02


@dataclass(frozen=True)
class _Waiting:
    point: WorldPoint
    since_s: float


class Clicks:
    """The subscriptions ~/clicked_point and ~/clicked_pixel of one node, for its whole life.

    Args:
        requests: takes the prompts.
        queue: returns the prompt queue, or raises PromptError with the reason if there is none.
        projector: returns the projector of points in metres; raises as `queue`.
    """

    def __init__(
        self,
        node: LifecycleNode,
        requests: Requests,
        queue: Callable[[], PromptQueue],
        projector: Callable[[], PointProjector],
        settings: DeclaredParameters,
    ) -> None:
        self._requests = requests
        self._queue = queue
        self._projector = projector
        self._settings = settings
        self._waiting: list[_Waiting] = []
        self._timer = node.create_timer(
            RETRY_PERIOD_S, self._try_again, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        self._timer.cancel()
        subscribe(node, PointStamped, "~/clicked_point", self._on_clicked_point, QoSProfile(depth=10))
        subscribe(node, Point, "~/clicked_pixel", self._on_clicked_pixel, QoSProfile(depth=10))

    def _on_clicked_pixel(self, message: Any) -> None:
        self._submit(message.x, message.y)

    def _on_clicked_point(self, message: Any) -> None:
        """Pixels, if the frame is empty, or the camera's with z = 0; else metres.

        In the camera's frame both cannot be meant: a point with z = 0 m lies in the plane of the lens, where no camera
        sees it.
        """
        point, frame_id = message.point, message.header.frame_id
        stamp_ns = stamp_to_ns(message.header.stamp)
        try:
            camera_frame_id = self._queue().camera_frame_id
        except PromptError as error:
            self._reject(str(error), stamp_ns, frame_id)
            return
        if not frame_id or (frame_id == camera_frame_id and point.z == 0):
            self._submit(point.x, point.y, stamp_ns, frame_id)
            return
        world = WorldPoint((point.x, point.y, point.z), frame_id, stamp_ns)
        if not all(map(math.isfinite, world.xyz)):
            self._reject(f"click at {world}: expected finite numbers", stamp_ns, frame_id)
        elif len(self._waiting) >= self._settings.used.max_pending_prompts:
            self._reject(
                f"click at {world}: {len(self._waiting)} clicks wait for camera_info or tf, as many as "
                f"max_pending_prompts = {self._settings.used.max_pending_prompts} allows",
                stamp_ns,
                frame_id,
            )
        elif not self._done(waiting := _Waiting(world, time.monotonic())):
            self._waiting.append(waiting)
            self._timer.reset()

    def _try_again(self) -> None:
        self._waiting = [waiting for waiting in self._waiting if not self._done(waiting)]
        if not self._waiting:
            self._timer.cancel()

    def _done(self, waiting: _Waiting) -> bool:
        """Prompt at the pixel that shows the point, or reject it; False if what it needs may still come."""
        point = waiting.point
        try:
            projector = self._projector()
            pixel = projector.pixel(point)
        except NoPositionError as error:
            waited_s = time.monotonic() - waiting.since_s
            until_s = max(waiting.since_s + self._settings.used.tf_timeout, projector.ready_s)
            if time.monotonic() < until_s:
                return False
            reason = f"click at {point}: {error}; waited {waited_s:.2f} s"
        except PromptError as error:
            reason = f"click at {error}"
        except UserError as error:  # tf2_ros is missing
            reason = f"click at {point}: {error}"
        else:
            self._submit(pixel.x, pixel.y, pixel.image.stamp_ns, pixel.image.frame_id)
            return True
        self._reject(reason, point.stamp_ns, point.frame_id)
        return True

    def _reject(self, reason: str, stamp_ns: int, frame_id: str) -> None:
        self._requests.reject(
            PromptOutcome(
                Outcome.REJECTED,
                self._settings.used.active_id,
                CLICK,
                stamp_ns=stamp_ns,
                frame_id=shown(frame_id),
                reason=reason,
            )
        )

    def _submit(self, x: float, y: float, stamp_ns: int = 0, frame_id: str = "") -> None:
        """One positive point, for the object `active_id` or a new one."""
        active_id = self._settings.used.active_id
        prompt = Prompt(active_id or CLICK, points=np.array([[x, y]], np.float32), labels=np.array([1]))
        request = PromptRequest(prompt, named=bool(active_id), stamp_ns=stamp_ns, frame_id=frame_id)
        with contextlib.suppress(PromptError):  # it is logged and reported
            self._requests.submit(lambda: request, CLICK)
