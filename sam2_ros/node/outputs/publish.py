# SPDX-License-Identifier: Apache-2.0
"""The node's publishers: publish the result of one image as ROS messages with that image's header.

Knows message layouts and subscriber counts; does not know how the result was computed. An output without subscribers is
not made, unless late subscribers get it (transient_local). A message that cannot be sent is dropped and counted, never
retried.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from rclpy.exceptions import InvalidHandle
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile
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
from sam2_ros.node.parameters.params import NodeParams
from sam2_ros.node.qos import OVERRIDABLE, output_qos
from sam2_ros.node.spatial.location import ObjectLocations
from sam2_ros.node.spatial.location_messages import (
    cloud_message,
    detections_3d_message,
    markers_message,
    pose_message,
    tf_message,
)

from .annotations import annotations_message, import_foxglove_msgs
from .first_masks import FirstMasks
from .object_messages import image_message, mono_message, objects_message, status_message
from .object_topics import ObjectTopics

RCLError = rclpy_implementation.RCLError


class Outputs:
    """The lifecycle publishers of one configured node.

    Args:
        params: says which outputs there are; with `use_3d` also those that need positions.
    """

    def __init__(self, node: LifecycleNode, statistics: Statistics, params: NodeParams) -> None:
        use_3d = params.use_3d
        self._node = node
        self._statistics = statistics
        self._made: list[Any] = []
        self._kept: list[Any] = []  # transient_local publishers: late subscribers get the last message
        self._objects = self._publisher(TrackedObjectArray, "~/objects")
        self._status = self._publisher(ObjectStatusArray, "~/status")
        self._label_image = self._publisher(Image, "~/label_image")
        self._debug_image = self._publisher(Image, "~/debug_image")
        self._cloud = self._publisher(PointCloud2, "~/object_cloud") if use_3d else None
        self._markers = self._publisher(MarkerArray, "~/markers") if use_3d else None
        self._first_masks = FirstMasks()
        self._of_objects = ObjectTopics(self._publisher_with, self._destroy, use_3d, node.get_logger())
        self._tf_prefix = params.tf_prefix
        self._boxes = self._boxes_3d = self._annotations = None
        try:
            self._of_objects.follow(params)
        except UserError:
            self.destroy()
            raise
        if messages := self._optional(import_vision_msgs, "~/detections_2d and ~/detections_3d are"):
            self._boxes = self._publisher(messages.Detection2DArray, "~/detections_2d")
            if use_3d:
                self._boxes_3d = self._publisher(messages.Detection3DArray, "~/detections_3d")
        if foxglove := self._optional(import_foxglove_msgs, "~/annotations is"):
            self._annotations = self._publisher(foxglove.ImageAnnotations, "~/annotations")

    def _optional(self, imported: Callable[[], Any], outputs: str) -> Any:
        """The messages of a package that may be absent; None, and one line in the log, if it is."""
        try:
            return imported()
        except UserError as error:
            self._node.get_logger().info(f"{outputs} not offered: {error}")
            return None

    def follow(self, params: NodeParams) -> None:
        """Make and destroy the topics of single objects. Raises UserError, and changes nothing then."""
        self._of_objects.follow(params)
        self._tf_prefix = params.tf_prefix

    def _publisher(self, message_type: Any, topic: str) -> Any:
        try:
            return self._publisher_with(message_type, topic, output_qos())
        except Exception:
            self.destroy()
            raise

    def _publisher_with(self, message_type: Any, topic: str, qos: QoSProfile) -> Any:
        publisher = self._node.create_lifecycle_publisher(
            message_type, topic, qos, qos_overriding_options=OVERRIDABLE
        )
        if self._made and self._made[0].is_activated:
            publisher.on_activate(None)  # made while the node is active
        self._made.append(publisher)
        if qos.durability == DurabilityPolicy.TRANSIENT_LOCAL:
            self._kept.append(publisher)
        return publisher

    def _destroy(self, publisher: Any) -> None:
        self._made.remove(publisher)
        if publisher in self._kept:
            self._kept.remove(publisher)
        self._node.destroy_lifecycle_publisher(publisher)

    def destroy(self) -> None:
        for publisher in self._made:
            self._node.destroy_lifecycle_publisher(publisher)

    @property
    def want_positions(self) -> bool:
        """True if any output with positions has subscribers or is transient_local."""
        return self.want_axes or any(
            self._wanted(publisher) for publisher in (self._objects, self._cloud, self._markers)
        )

    @property
    def want_axes(self) -> bool:
        """True if any output with orientations has subscribers or is transient_local."""
        oriented = (self._status, self._boxes_3d, self._of_objects.tf, *self._of_objects.all("pose"))
        return any(self._wanted(publisher) for publisher in oriented)

    def wanted_clouds(self) -> set[str]:
        """Ids of the objects whose own cloud has subscribers."""
        topics = self._of_objects
        return {each for each in topics.ids("cloud") if self._wanted(topics.of("cloud", each))}

    def _wanted(self, publisher: Any) -> bool:
        if publisher is None:
            return False
        try:
            return publisher in self._kept or publisher.get_subscription_count() > 0
        except InvalidHandle:  # destroyed at this moment: its object has no topic any more
            return False

    def publish_masks(
        self, result: FrameResult, image_rgb: np.ndarray, header: Header, use_debug: bool
    ) -> None:
        """Publish the wanted outputs without positions."""
        self._send(self._label_image, lambda: mono_message(result.label_image(), header))
        for obj in result.objects:
            self._send(self._of_objects.of("mask", obj.id), partial(mono_message, obj.mask, header))
            first = self._of_objects.of("first_mask", obj.id)
            if first is not None and self._first_masks.is_first(obj, first):
                self._send(first, partial(mono_message, obj.mask, header))
        self._send(self._boxes, lambda: detections_2d_message(result, header))
        self._send(self._annotations, lambda: annotations_message(result, header))
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
            if spatial.locations:
                prefix = self._tf_prefix
                self._send(self._of_objects.tf, lambda: tf_message(spatial, result, header, prefix))
            for object_id, location in spatial.locations.items():
                self._send(
                    self._of_objects.of("pose", object_id),
                    partial(pose_message, location, spatial.frame_id, header),
                )

    def publish_cloud(self, object_id: str, cloud: PointCloud2) -> None:
        """Publish the cloud of one object on its own topic."""
        self._send(self._of_objects.of("cloud", object_id), lambda: cloud)

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
            if not self._node.context.ok() or publisher not in self._made:  # destroyed as it was publishing
                return
            self._statistics.lost("not_published")
            self._node.get_logger().warning(
                f"message on {publisher.topic_name} dropped: {error}", throttle_duration_sec=1.0
            )
