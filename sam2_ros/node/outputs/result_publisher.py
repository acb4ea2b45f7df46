# SPDX-License-Identifier: Apache-2.0
"""Publishes each image's result: masks at once, outputs with positions when tf reaches the image's stamp.

Does not know message layouts. The worker's thread never waits here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from rclpy.clock import Clock
from rclpy.impl.rcutils_logger import RcutilsLogger

from sam2_ros.engine import FrameResult
from sam2_ros.errors import one_line
from sam2_ros.node.actions.track_until import TrackUntilServer
from sam2_ros.node.detector.detector import Detector
from sam2_ros.node.diagnostics import Statistics
from sam2_ros.node.frame_history import StampedImage
from sam2_ros.node.object_registry import ObjectRegistry
from sam2_ros.node.parameters.declared import DeclaredParameters
from sam2_ros.node.spatial.location import NoPositionError
from sam2_ros.node.spatial.object_locator import ObjectLocator, ObservedImage
from sam2_ros.node.spatial.transform import IDENTITY, Transform
from sam2_ros.node.spatial.waiting import WaitingQueue

from .clouds import CloudService
from .object_messages import status_message
from .publish import Outputs

PLAUSIBLE_AGE_S = 10.0  # an older image is from a bag, and its stamp says nothing about delay


@dataclass(frozen=True)
class _Waiting:
    """One image's result that waits for its transform; `observed` is None if no positions were asked for."""

    result: FrameResult
    image_rgb: np.ndarray
    image: StampedImage
    observed: ObservedImage | None

    def existing(self, objects: ObjectRegistry) -> _Waiting:
        """A copy without the objects that no longer exist."""
        left = [obj for obj in self.result.objects if objects.has_label(obj.label)]
        ids = {obj.id for obj in left}
        observed = self.observed.only(ids) if self.observed is not None else None
        return replace(self, result=replace(self.result, objects=left), observed=observed)

    @property
    def size_bytes(self) -> int:
        masks = sum(obj.mask.nbytes for obj in self.result.objects)
        surfaces = self.observed.surfaces.values() if self.observed is not None else ()
        points = sum(one.points_camera.nbytes + one.pixels.nbytes for one in surfaces)
        return int(self.image_rgb.nbytes) + masks + points


class ResultPublisher:
    """Lives from activation to deactivation. `deliver` and `discontinuity` are called by the worker's thread only."""

    def __init__(
        self,
        outputs: Outputs,
        spatial: ObjectLocator | None,
        detector: Detector | None,
        objects: ObjectRegistry,
        statistics: Statistics,
        settings: DeclaredParameters,
        clock: Clock,
        log: RcutilsLogger,
        clouds: CloudService | None = None,
        goals: TrackUntilServer | None = None,
    ) -> None:
        self._outputs = outputs
        self._spatial = spatial
        self._detector = detector
        self._objects = objects
        self._statistics = statistics
        self._settings = settings
        self._clock = clock
        self._log = log
        self._clouds = clouds
        if clouds is not None:
            clouds.use(spatial, outputs)
        self._goals = goals
        self._queue: WaitingQueue[_Waiting, Transform] = WaitingQueue(
            ask=self._transform,
            release=self._publish,
            failed=self._failed,
            timeout_s=lambda: settings.used.tf_timeout,
        )

    def deliver(self, result: FrameResult, image_rgb: np.ndarray, image: StampedImage) -> None:
        """Publish the outputs without positions now, and the others in order, as soon as their transform is there."""
        if self._detector is not None:
            self._detector.add_result(result)
        header, observed = image.message.header, None
        if self._spatial is not None and (self._outputs.want_positions or self._has_goals):
            height_px, width_px = image_rgb.shape[:2]
            observed = self._spatial.observe(result, height_px, width_px, header)
        self._outputs.publish_masks(result, image_rgb, header, self._settings.used.use_debug)
        if self._clouds is not None:
            self._clouds.offer(result, image_rgb, header)
        waiting = _Waiting(result, image_rgb, image, observed)
        for _ in range(self._queue.put(waiting, waiting.size_bytes)):
            self._statistics.lost("not_published")

    @property
    def _has_goals(self) -> bool:
        return self._goals is not None and self._goals.wanted

    def discontinuity(self) -> None:
        """Time or the camera jumped: waiting results get no transform any more, so they are published now."""
        self._queue.hurry("time or the camera has jumped")
        if self._spatial is not None:
            self._spatial.discontinuity()

    def stop(self) -> bool:
        """Publish the waiting results and stop. False if a message is stuck in the middleware."""
        if self._clouds is not None:
            self._clouds.forget()
        return self._queue.stop()

    def _transform(self, waiting: _Waiting) -> Transform:
        if self._spatial is None or waiting.observed is None:
            return IDENTITY
        return self._spatial.transform(waiting.observed)

    def _publish(self, waiting: _Waiting, transform: Transform | NoPositionError, waited_s: float) -> None:
        """Called by the worker's thread or the queue's thread.

        A result that has waited shows no object removed meanwhile. A result published at once shows the same objects as
        the masks of its image, which are published already.
        """
        if waited_s:
            waiting = waiting.existing(self._objects)
        image, located = waiting.image, None
        if self._spatial is not None and waiting.observed is not None:
            oriented = self._outputs.want_axes or self._has_goals
            located = self._spatial.locate(waiting.observed, transform, waited_s, oriented)
        self._outputs.publish_objects(waiting.result, waiting.image_rgb, image.message.header, located)
        if self._goals is not None and self._goals.wanted:
            statuses = status_message(waiting.result, image.message.header, located)
            self._goals.offer(statuses, image.received_s)
        self._statistics.timed("latency", (time.monotonic() - image.received_s) * 1e3)
        age_s = (self._clock.now().nanoseconds - image.stamp_ns) / 1e9
        if 0 <= age_s < PLAUSIBLE_AGE_S:
            self._statistics.timed("age", age_s * 1e3)

    def _failed(self, error: Exception) -> None:
        self._statistics.lost("failed")
        self._log.error(f"a result could not be published: {one_line(error)}")
