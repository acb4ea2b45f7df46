# SPDX-License-Identifier: Apache-2.0
"""Dense clouds of single objects: the service ~/cloud, and ~/cloud/<id> for the ids in `cloud_topics`.

Knows messages and the newest result; does not know how an object is tracked. A cloud of a large object takes tens of
milliseconds and may wait for tf, so all of it runs in a hidden node with its own thread, as ~/segment does. Of the
results that come meanwhile only the newest is used.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2
from std_msgs.msg import Header

from sam2_ros.engine import FrameResult, TrackedObject
from sam2_ros.errors import one_line
from sam2_ros.node.hidden_node import HiddenNode
from sam2_ros.node.interfaces import ObjectCloud
from sam2_ros.node.limits import listed, shown
from sam2_ros.node.parameters.declared import DeclaredParameters
from sam2_ros.node.spatial.location import NoPositionError, NotYetError
from sam2_ros.node.spatial.location_messages import object_cloud_message
from sam2_ros.node.spatial.object_locator import ObjectLocator

from .publish import Outputs

POLL_S = 0.005  # of tf, while a cloud waits for it
PATIENCE_S = 1.5  # for the cloud in progress, when the node ends


@dataclass
class _Source:
    """What clouds are made of while the node is active; `newest` is the last image's result, pixels and header."""

    locator: ObjectLocator
    outputs: Outputs
    newest: tuple[FrameResult, np.ndarray, Any] | None = None


class CloudService:
    """The service and the topics of one node, for its whole life; `use` and `offer` give them what they need."""

    def __init__(self, node: LifecycleNode, settings: DeclaredParameters) -> None:
        self._log = node.get_logger()
        self._settings = settings
        self._source: _Source | None = None  # replaced as a whole
        self._hidden = HiddenNode(node, "clouds", SingleThreadedExecutor(context=node.context))
        self._hidden.node.create_service(ObjectCloud, node.resolve_service_name("~/cloud"), self._on_cloud)
        self._new_result = self._hidden.node.create_guard_condition(self._publish)
        self._hidden.start()

    @property
    def node(self) -> Node:
        """The node that holds the service."""
        return self._hidden.node

    def destroy(self) -> bool:
        """End the thread; False if the cloud in progress takes too long."""
        return self._hidden.destroy(PATIENCE_S)

    def use(self, locator: ObjectLocator | None, outputs: Outputs) -> None:
        """Called at activation; without a locator there are no clouds."""
        self._source = _Source(locator, outputs) if locator is not None else None

    def forget(self) -> None:
        """Called at deactivation."""
        self._source = None

    def offer(self, result: FrameResult, image_rgb: np.ndarray, header: Any) -> None:
        """The newest result, from the worker's thread: kept for the service, and published if a topic is wanted."""
        source = self._source
        if source is None:
            return
        source.newest = (result, image_rgb, header)  # not a new source: `forget` may have come meanwhile
        if source.outputs.wanted_clouds():
            self._new_result.trigger()

    def _publish(self) -> None:
        """The clouds of the newest result, for each topic with subscribers; a hidden object has none."""
        source = self._source
        if source is None or source.newest is None:
            return
        result, image_rgb, header = source.newest
        wanted = source.outputs.wanted_clouds()
        for obj in result.objects:
            if obj.id not in wanted or not obj.visible:
                continue
            try:
                cloud = self._cloud(source.locator, obj, image_rgb, header, organized=False)
            except NoPositionError as error:
                self._log.warning(f"no cloud of '{obj.id}': {error}", throttle_duration_sec=10.0)
                continue
            except Exception as error:  # one cloud that fails must not end the thread
                self._log.error(f"no cloud of '{obj.id}': {one_line(error)}", throttle_duration_sec=10.0)
                continue
            source.outputs.publish_cloud(obj.id, cloud)

    def _on_cloud(self, request: Any, response: Any) -> Any:
        try:
            locator, obj, image_rgb, header = self._asked(request.id)
            response.cloud = self._cloud(locator, obj, image_rgb, header, bool(request.organized))
            response.success = True
        except NoPositionError as error:
            response.message = str(error)
        except Exception as error:  # fails this request only
            response.message = f"no cloud of '{shown(request.id)}': {one_line(error)}"
        if response.message and not self._hidden.stopping.is_set():
            self._log.warning(f"~/cloud: {response.message}")
        return response

    def _asked(self, object_id: str) -> tuple[ObjectLocator, TrackedObject, np.ndarray, Any]:
        """The visible object of this id, and what its cloud is made of: locator, pixels and header of the newest image.

        Raises NoPositionError with the reason if there is none.
        """
        source, name = self._source, shown(object_id)
        if source is None:
            why = (
                "the node is not active: activate it"
                if self._settings.used.use_3d
                else "use_3d is false: set it to true, and configure the node again"
            )
            raise NoPositionError(f"no cloud of '{name}': {why}")
        if source.newest is None:
            raise NoPositionError(f"no cloud of '{name}': no image has been tracked yet; start the camera")
        result, image_rgb, header = source.newest
        obj = next((each for each in result.objects if each.id == object_id), None)
        if obj is None:
            there = listed([shown(each.id) for each in result.objects]) or "none"
            raise NoPositionError(f"no object '{name}' in the newest image; there are: {there}")
        if not obj.visible:
            raise NoPositionError(
                f"no cloud of '{name}': it is {obj.state.name}, expected TRACKING; ask again when it is visible"
            )
        return source.locator, obj, image_rgb, header

    def _cloud(
        self, locator: ObjectLocator, obj: TrackedObject, image_rgb: np.ndarray, header: Any, organized: bool
    ) -> PointCloud2:
        """Waits for the transform as long as other outputs do. Raises NoPositionError."""
        height_px, width_px = image_rgb.shape[:2]
        deadline_s = time.monotonic() + self._settings.used.tf_timeout
        while True:
            try:
                frame_id, surface, transform = locator.whole_surface(obj, height_px, width_px, header)
                break
            except NotYetError:
                if time.monotonic() > deadline_s or self._hidden.stopping.is_set():
                    raise
                time.sleep(POLL_S)
        points = transform.apply(surface.points_camera).astype(np.float32)
        stamped = Header(stamp=header.stamp, frame_id=frame_id)
        return object_cloud_message(points, surface.pixels, obj.label, image_rgb, stamped, organized)
