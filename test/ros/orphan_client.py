# SPDX-License-Identifier: Apache-2.0
"""An action client for tests: sends five goals for one object, says so, and waits to be killed.

Arguments: ROS_DOMAIN_ID; seconds of each goal, 0 for goals without a limit, until the object is lost.
"""

import sys
import time

import rclpy
from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from sam2_ros_msgs.action import TrackUntil
from sam2_ros_msgs.msg import Prompt

domain_id, seconds = map(int, sys.argv[1:])
rclpy.init(domain_id=domain_id)
node = rclpy.create_node("orphan")
client = ActionClient(node, TrackUntil, "/sam2/track_until")
assert client.wait_for_server(60.0)
prompt = Prompt(id="orphan", box=[30.0, 30.0, 70.0, 70.0])
for _ in range(5):
    until = TrackUntil.Goal.DURATION if seconds else TrackUntil.Goal.LOST
    goal = TrackUntil.Goal(prompt=prompt, until=until, timeout=Duration(sec=seconds))
    sent = client.send_goal_async(goal)
    rclpy.spin_until_future_complete(node, sent, timeout_sec=30.0)
    assert sent.result().accepted
print("accepted", flush=True)
time.sleep(600)
