# SPDX-License-Identifier: Apache-2.0
"""Service introspection: publishes requests and replies of the node's own services on <service>/_service_event.

Does not know what the services do. rclpy has introspection of services since Iron, of actions since Kilted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.service import Service

OWN_PACKAGES = ("sam2_ros_msgs", "std_srvs")  # not the services for parameters and the lifecycle
EVENTS_DEPTH = 10


class ServiceIntrospection:
    """Applies the parameter `service_introspection` to all services of some nodes, and to action servers.

    Args:
        node: its clock stamps the events.
        more: nodes with further services.
    """

    def __init__(self, node: Node, more: Iterable[Node], actions: Iterable[Any]) -> None:
        self._node = node
        self._nodes = [node, *more]
        self._actions = list(actions)
        self._level = "off"

    def set(self, level: str) -> None:
        """`level`: off, metadata or contents. Does nothing if it has not changed."""
        if level == self._level:
            return
        self._level = level
        if not hasattr(Service, "configure_introspection"):
            self._node.get_logger().info(
                f"service_introspection: {level} has no effect: the rclpy of this ROS distribution has no service "
                "introspection, Iron and later have it"
            )
            return
        from rclpy.service_introspection import ServiceIntrospectionState

        state = getattr(ServiceIntrospectionState, level.upper())
        own = [each for node in self._nodes for each in node.services if _package(each) in OWN_PACKAGES]
        with_it = [each for each in self._actions if hasattr(each, "configure_introspection")]
        for each in (*own, *with_it):
            each.configure_introspection(self._node.get_clock(), QoSProfile(depth=EVENTS_DEPTH), state)


def _package(service: Any) -> str:
    return str(service.srv_type.__module__).partition(".")[0]
