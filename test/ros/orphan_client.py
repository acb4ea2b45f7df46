# SPDX-License-Identifier: Apache-2.0
"""An action client for tests: sends five goals of 2 s for one object, says so, and waits to be killed.

Knows the action ~/track_until only.
"""

import sys
import time

import rclpy
from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from sam2_ros_msgs.action import TrackUntil
from sam2_ros_msgs.msg import Prompt

rclpy.init(domain_id=int(sys.argv[1]))
node = rclpy.create_node("orphan")
client = ActionClient(node, TrackUntil, "/sam2/track_until")
assert client.wait_for_server(60.0)
prompt = Prompt(id="orphan", box=[30.0, 30.0, 70.0, 70.0])
for _ in range(5):
    goal = TrackUntil.Goal(prompt=prompt, until=TrackUntil.Goal.DURATION, timeout=Duration(sec=2))
    sent = client.send_goal_async(goal)
    rclpy.spin_until_future_complete(node, sent, timeout_sec=30.0)
    assert sent.result().accepted
print("accepted", flush=True)
time.sleep(600)
