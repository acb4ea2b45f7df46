# SPDX-License-Identifier: Apache-2.0
"""A reliable subscriber of large messages that prints what it receives; tests stop it like a process that hangs.

`python stopped_listener.py TOPIC DOMAIN`
"""

import sys

import rclpy
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

context = rclpy.Context()
rclpy.init(context=context, domain_id=int(sys.argv[2]))
node = rclpy.create_node("stopped_listener", context=context)
executor = rclpy.executors.SingleThreadedExecutor(context=context)
executor.add_node(node)
node.create_subscription(
    Image,
    sys.argv[1],
    lambda message: print(
        message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec, flush=True
    ),
    QoSProfile(depth=1),
)
executor.spin()
