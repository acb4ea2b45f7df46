# SPDX-License-Identifier: Apache-2.0
"""QoS of the node's topics, and the policies that a parameter file may override.

Does not know what is sent. An override is a parameter `qos_overrides.<topic>.<publisher or subscription>.<policy>`,
read when the topic is created for the first time; rclpy declares it read-only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

from sam2_ros.errors import UserError

POLICIES = {"history": HistoryPolicy, "reliability": ReliabilityPolicy, "durability": DurabilityPolicy}
OVERRIDABLE = QoSOverridingOptions([*(QoSPolicyKind[name.upper()] for name in POLICIES), QoSPolicyKind.DEPTH])
# Topics of ROS itself, whose overrides are not checked here.
ROS_TOPICS = ("/tf", "/tf_static", "/clock", "/parameter_events", "/rosout")


def output_qos() -> QoSProfile:
    """QoS of all outputs: reliable and volatile, as rclpy's defaults. Made anew: rclpy writes overrides into it."""
    return QoSProfile(depth=1)


def sensor_qos(depth: int) -> QoSProfile:
    """QoS of inputs: best effort, which matches every publisher."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def subscribe(
    node: Node, message_type: Any, topic: str, callback: Callable[[Any], None], qos: QoSProfile
) -> Any:
    """Create a subscription whose QoS can be overridden."""
    return node.create_subscription(message_type, topic, callback, qos, qos_overriding_options=OVERRIDABLE)


def check_overrides(node: Node) -> None:
    """Raise UserError for an invalid QoS override: rclpy reports it only later, and without its name."""
    for name, parameter in node._parameter_overrides.items():
        policy, value = name.rpartition(".")[2], parameter.value
        if not name.startswith("qos_overrides."):
            continue
        if policy == "depth" and (type(value) is not int or value < 1):
            raise UserError(f"parameter {name}: got {value!r}, expected a whole number from 1")
        if policy in POLICIES:
            words = [each.name.lower() for each in POLICIES[policy] if each.name != "UNKNOWN"]
            if str(value).lower() not in words:
                raise UserError(f"parameter {name}: got {value!r}, expected one of {', '.join(words)}")


def unused_overrides(node: Node) -> list[str]:
    """One warning for each given override whose topic, endpoint or policy the node does not have now."""
    return [
        f"parameter {name}: this node has no such topic now, or the policy cannot be overridden; the value has no "
        "effect (docs/reference/parameters.md)"
        for name in node._parameter_overrides
        if name.startswith("qos_overrides.")
        and not node.has_parameter(name)
        and name.split(".")[1] not in ROS_TOPICS
    ]
