# SPDX-License-Identifier: Apache-2.0
"""The node's publishers: publish the result of one image as ROS messages with that image's header.

Knows message layouts and subscriber counts; does not know how the result was computed. An output without subscribers is
not made, unless late subscribers get it (transient_local). A message that cannot be sent is dropped and counted, never
retried.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from sam2_ros.engine import FrameResult
from sam2_ros.errors import UserError
from sam2_ros.media.overlay import draw_overlay
from sam2_ros.media.ros_image import rgb_to_image_fields
from sam2_ros.node.detector.vision import detections_2d_message, import_vision_msgs
from sam2_ros.node.diagnostics import Statistics
from sam2_ros.node.interfaces import ObjectStatusArray, TrackedObjectArray
from sam2_ros.node.qos import OVERRIDABLE, output_qos
from sam2_ros.node.spatial.location import ObjectLocations
from sam2_ros.node.spatial.location_messages import cloud_message, detections_3d_message, markers_message

from .mask_topics import mask_topics
from .object_messages import image_message, mono_message, objects_message, status_message

RCLError = rclpy_implementation.RCLError


class Outputs:
    """The lifecycle publishers of one configured node.

    Args:
        mask_ids: ids of objects that get a full-size mask on a topic of their own; "" is ignored.
        use_3d: offer the outputs that need positions.
    """

    def __init__(
        self, node: LifecycleNode, statistics: Statistics, mask_ids: Sequence[str], use_3d: bool
    ) -> None:
        self._node = node
        self._statistics = statistics
        self._made: list[Any] = []
        self._kept: list[Any] = []  # transient_local publishers: late subscribers get the last message
        topics = mask_topics(mask_ids)
        for object_id, topic in topics.items():
            if not topic.endswith(f"/{object_id}"):
                node.get_logger().info(f"the mask of '{object_id}' is on {topic}")
        self._objects = self._publisher(TrackedObjectArray, "~/objects")
        self._status = self._publisher(ObjectStatusArray, "~/status")
        self._label_image = self._publisher(Image, "~/label_image")
        self._debug_image = self._publisher(Image, "~/debug_image")
        self._masks = {object_id: self._publisher(Image, topic) for object_id, topic in topics.items()}
        self._cloud = self._publisher(PointCloud2, "~/object_cloud") if use_3d else None
        self._markers = self._publisher(MarkerArray, "~/markers") if use_3d else None
        self._boxes = self._boxes_3d = None
        try:
            messages = import_vision_msgs()
        except UserError as error:
            node.get_logger().info(f"~/detections_2d and ~/detections_3d are not offered: {error}")
            return
        self._boxes = self._publisher(messages.Detection2DArray, "~/detections_2d")
        if use_3d:
            self._boxes_3d = self._publisher(messages.Detection3DArray, "~/detections_3d")

    def _publisher(self, message_type: Any, topic: str) -> Any:
        qos = output_qos()
        try:
            publisher = self._node.create_lifecycle_publisher(
                message_type, topic, qos, qos_overriding_options=OVERRIDABLE
            )
        except Exception:  # such as an object id that is too long for a topic
            self.destroy()
            raise
        self._made.append(publisher)
        if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:  # set by a QoS override
            self._kept.append(publisher)
        return publisher

    def destroy(self) -> None:
        for publisher in self._made:
            self._node.destroy_lifecycle_publisher(publisher)

    @property
    def want_positions(self) -> bool:
        """True if any output with positions has subscribers or is transient_local."""
        return any(
            self._wanted(publisher)
            for publisher in (self._objects, self._status, self._cloud, self._markers, self._boxes_3d)
        )

    def _wanted(self, publisher: Any) -> bool:
        return publisher is not None and (publisher in self._kept or publisher.get_subscription_count() > 0)

    def publish_masks(
        self, result: FrameResult, image_rgb: np.ndarray, header: Header, use_debug: bool
    ) -> None:
        """Publish the wanted outputs without positions."""
        self._send(self._label_image, lambda: mono_message(result.label_image(), header))
        for obj in result.objects:
            if obj.id in self._masks:
                self._send(self._masks[obj.id], partial(mono_message, obj.mask, header))
        self._send(self._boxes, lambda: detections_2d_message(result, header))
        if use_debug:
            self._send(
                self._debug_image,
                lambda: image_message(rgb_to_image_fields(draw_overlay(image_rgb, result)), header),
            )

    def publish_objects(
        self, result: FrameResult, image_rgb: np.ndarray, header: Header, spatial: ObjectLocations | None
    ) -> None:
        """Publish the wanted outputs with positions; `spatial` is None if no position was asked for."""
        self._send(self._objects, lambda: objects_message(result, header, spatial))
        self._send(self._status, lambda: status_message(result, header, spatial))
        if spatial is not None:
            self._send(self._cloud, lambda: cloud_message(spatial, result, image_rgb, header))
            self._send(self._markers, lambda: markers_message(spatial, result, header))
            self._send(self._boxes_3d, lambda: detections_3d_message(spatial, result, header))

    def _send(self, publisher: Any, make: Callable[[], Any]) -> None:
        """Make and publish one message if it is wanted.

        With KEEP_LAST 1 a new message replaces one that a slow subscriber has not taken yet, so a slow subscriber makes
        publish neither wait nor raise (at least with Fast DDS 3). If the middleware refuses a message, rclpy raises
        RCLError.
        """
        try:
            if not self._wanted(publisher):
                return
            publisher.publish(make())
            self._statistics.sent()
        except (RCLError, InvalidHandle) as error:
            if not self._node.context.ok():
                return
            self._statistics.lost("not_published")
            self._node.get_logger().warning(
                f"message on {publisher.topic_name} dropped: {error}", throttle_duration_sec=1.0
            )
