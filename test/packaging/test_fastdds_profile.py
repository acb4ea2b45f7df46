# SPDX-License-Identifier: Apache-2.0
"""With the shipped Fast DDS profile at the publisher, large best-effort images arrive in another process.

Knows nothing of sam2_ros. Without the profile, at most one of these images arrives.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2: make env, or a sourced installation")
pytestmark = pytest.mark.slow

PROFILE = Path(__file__).resolve().parents[2] / "config" / "fastdds.xml"
SENT = 60
SETUP = """
import sys, time
from array import array
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node("end_of_the_profile_test")
qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""
PUBLISH = f"""
publisher = node.create_publisher(Image, "large_image", qos)
image = Image(height=1080, width=1920, step=5760, encoding="bgr8")
image.data = array("B", bytes(1080 * 5760))
until = time.monotonic() + 30
while publisher.get_subscription_count() == 0 and time.monotonic() < until:
    time.sleep(0.05)
for _ in range({SENT}):
    publisher.publish(image)
    time.sleep(1 / 15)
rclpy.try_shutdown()
"""
RECEIVE = f"""
arrived = []
node.create_subscription(Image, "large_image", lambda image: arrived.append(len(image.data)), qos)
met, until = False, time.monotonic() + 60
while len(arrived) < {SENT} and time.monotonic() < until:
    rclpy.spin_once(node, timeout_sec=0.1)
    publishers = node.count_publishers("large_image")
    if met and not publishers:
        break
    met = met or publishers > 0
print(arrived.count(1080 * 5760))
rclpy.try_shutdown()
"""


def test_full_hd_images_arrive_in_another_process() -> None:
    variables = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
    plain = {name: value for name, value in os.environ.items() if name not in variables}
    with_profile = {**plain, **dict.fromkeys(variables, str(PROFILE))}
    camera = subprocess.Popen([sys.executable, "-c", SETUP + PUBLISH], env=with_profile)
    try:
        received = subprocess.run(
            [sys.executable, "-c", SETUP + RECEIVE], env=plain, capture_output=True, text=True, check=True
        )
    finally:
        camera.terminate()
        camera.wait()
    # Not all: a loaded machine reads late, and best effort does not wait. Without the profile it is 0 or 1.
    assert int(received.stdout.split()[-1]) >= SENT // 3
