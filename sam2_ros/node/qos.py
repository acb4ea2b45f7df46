# SPDX-License-Identifier: Apache-2.0
"""QoS of the node's topics, and which of their policies a parameter file may override.

Does not know what is sent. An override is a parameter `qos_overrides.<topic>.<publisher or subscription>.<policy>`,
read when the topic is made for the first time; rclpy declares it read-only.
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
# Topics of ROS, whose overrides are not ours to judge.
ROS_TOPICS = ("/tf", "/tf_static", "/clock", "/parameter_events", "/rosout")


def output_qos() -> QoSProfile:
    """Of every output: reliable and volatile, as rclpy has it. A new one each time: rclpy writes overrides into it."""
    return QoSProfile(depth=1)


def sensor_qos(depth: int) -> QoSProfile:
    """Of inputs that works with every sender."""
    return QoSProfile(depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT)


def subscribe(
    node: Node, message_type: Any, topic: str, callback: Callable[[Any], None], qos: QoSProfile
) -> Any:
    """A subscription whose QoS may be overridden."""
    return node.create_subscription(message_type, topic, callback, qos, qos_overriding_options=OVERRIDABLE)


def check_overrides(node: Node) -> None:
    """UserError when an override was given that is no QoS: rclpy would not say which, and only later."""
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
    """One line for each override that was given and is of no topic, endpoint or policy that the node has by now."""
    return [
        f"parameter {name}: this node has no such topic at present, or the policy cannot be overridden, and the value "
        "has no effect (docs/reference/parameters.md)"
        for name in node._parameter_overrides
        if name.startswith("qos_overrides.")
        and not node.has_parameter(name)
        and name.split(".")[1] not in ROS_TOPICS
    ]
