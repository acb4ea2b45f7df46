"""Each image's result to the outputs: at once, or what has positions in it later, when tf reaches the image's stamp.

Knows who listens and when something went out; does not know message layouts. The worker's thread never waits here.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sam2_ros.engine import FrameResult
from sam2_ros.node.diagnostics import Statistics
from sam2_ros.node.frame_history import Arrival
from sam2_ros.node.parameters.params import NodeParams
from sam2_ros.node.prompt_queue import Removals
from sam2_ros.node.spatial.location import NoPositionError
from sam2_ros.node.spatial.spatial import Sight, Spatial
from sam2_ros.node.spatial.transform import IDENTITY, Transform
from sam2_ros.node.spatial.waiting import WaitingQueue
from sam2_ros.node.worker import Log

from .publish import Outputs

PLAUSIBLE_AGE_S = 10.0  # an image older than this is from a bag, whose stamps say nothing about delay
REMOVALS_KEPT_S = 60.0  # no result waits longer


@dataclass(frozen=True)
class _Delivered:
    """One image's result; `sight` is None where nobody asked for positions."""

    result: FrameResult
    image_rgb: np.ndarray
    arrival: Arrival
    sight: Sight | None
    since_s: float

    def without(self, removals: Removals) -> _Delivered:
        objects = [obj for obj in self.result.objects if not removals.covers(obj.id)]
        sight = self.sight.without(removals.covers) if self.sight is not None else None
        return replace(self, result=replace(self.result, objects=objects), sight=sight)

    @property
    def size_bytes(self) -> int:
        masks = sum(obj.mask.nbytes for obj in self.result.objects)
        seen = self.sight.seen.values() if self.sight is not None else ()
        points = sum(one.points_camera.nbytes + one.pixels.nbytes for one in seen)
        return int(self.image_rgb.nbytes) + masks + points


class Delivery:
    """Lives from activation to deactivation. `deliver` belongs to the worker's thread, all else to any.

    Args:
        params: those of now.
        now_ns: the ROS clock.
    """

    def __init__(
        self,
        outputs: Outputs,
        spatial: Spatial | None,
        statistics: Statistics,
        params: Callable[[], NodeParams],
        now_ns: Callable[[], int],
        log: Log,
    ) -> None:
        self._outputs = outputs
        self._spatial = spatial
        self._statistics = statistics
        self._params = params
        self._now_ns = now_ns
        self._log = log
        self._lock = threading.Lock()
        self._removals: deque[tuple[float, Removals]] = deque()  # of the last seconds
        self._queue: WaitingQueue[_Delivered, Transform] = WaitingQueue(
            ask=self._transform,
            release=self._publish,
            dropped=lambda: statistics.lost("not_published"),
            failed=self._failed,
            timeout_s=lambda: params().tf_timeout,
        )

    def deliver(self, result: FrameResult, image_rgb: np.ndarray, arrival: Arrival) -> None:
        """Publish what needs no position now, and the rest as soon as its turn and its transform have come."""
        since_s = time.monotonic()
        self._forget_removals(until_s=since_s - REMOVALS_KEPT_S)
        header, sight = arrival.message.header, None
        if self._spatial is not None and self._outputs.want_positions:
            height_px, width_px = image_rgb.shape[:2]
            sight = self._spatial.look(result, height_px, width_px, header)
        self._outputs.publish_masks(result, image_rgb, header, self._params().use_debug)
        delivered = _Delivered(result, image_rgb, arrival, sight, since_s)
        self._queue.put(delivered, delivered.size_bytes)

    def forget(self, removals: Removals) -> None:
        """What is removed now must not appear any more in a result that still waits."""
        now_s = time.monotonic()
        self._forget_removals(until_s=now_s - REMOVALS_KEPT_S)
        with self._lock:
            self._removals.append((now_s, removals))

    def discontinuity(self) -> None:
        """Time or the camera jumped: no transform is going to come for what is from before."""
        self._queue.hurry("time or the camera has jumped")

    def stop(self) -> bool:
        """Send what waits, and end. False when a message is stuck in the middleware."""
        return self._queue.stop()

    def _forget_removals(self, until_s: float) -> None:
        with self._lock:
            while self._removals and self._removals[0][0] < until_s:
                self._removals.popleft()

    def _transform(self, delivered: _Delivered) -> Transform:
        if self._spatial is None or delivered.sight is None:
            return IDENTITY
        return self._spatial.transform(delivered.sight)

    def _publish(
        self, delivered: _Delivered, transform: Transform | NoPositionError, waited_s: float
    ) -> None:
        """Called by the worker's thread, or by the queue's.

        What went at once shows what the masks of the same image show, which are out already.
        """
        if waited_s:
            with self._lock:
                gone = [removals for when_s, removals in self._removals if when_s >= delivered.since_s]
            for removals in gone:
                delivered = delivered.without(removals)
        arrival, located = delivered.arrival, None
        if self._spatial is not None and delivered.sight is not None:
            located = self._spatial.place(delivered.sight, transform, waited_s)
        header = arrival.message.header
        self._outputs.publish_objects(delivered.result, delivered.image_rgb, header, located)
        self._statistics.delivered((time.monotonic() - arrival.received_s) * 1e3)
        age_s = (self._now_ns() - arrival.stamp_ns) / 1e9
        if 0 <= age_s < PLAUSIBLE_AGE_S:
            self._statistics.aged(age_s * 1e3)

    def _failed(self, error: Exception) -> None:
        self._statistics.lost("failed")
        self._log.error(f"a result could not be published: {type(error).__name__}: {error}")
