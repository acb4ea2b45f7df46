# SPDX-License-Identifier: Apache-2.0
"""Imports the message packages that the node cannot do without, so that a missing one is explained.

Knows nothing of what the messages are used for.
"""

from __future__ import annotations

# ruff: noqa: F401 (what is imported here is used by others)

try:
    import rclpy
except ImportError as error:
    raise ImportError(
        "the node needs ROS 2 and its Python library rclpy, which this Python cannot import: "
        "source /opt/ros/<distro>/setup.bash in this shell first "
        f"(video files and bags need no ROS: sam2-ros --help). Python said: {error}"
    ) from error

try:
    from sam2_ros_msgs.msg import (
        ObjectStatus,
        ObjectStatusArray,
        PromptArray,
        TrackedObject,
        TrackedObjectArray,
    )
    from sam2_ros_msgs.srv import AddObjects, RemoveObjects, Segment
except ImportError as error:
    raise ImportError(
        "the node needs its message package sam2_ros_msgs, which is not built or not sourced. It lies "
        "inside the repository, where a plain colcon build does not look; from the clone run: "
        "colcon build --base-paths . sam2_ros_msgs && . install/setup.bash "
        "(in a workspace: colcon build --base-paths src src/sam2_ros/sam2_ros_msgs). "
        f"Python said: {error}"
    ) from error
