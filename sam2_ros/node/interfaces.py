# SPDX-License-Identifier: Apache-2.0
"""Imports the required ROS packages, and explains how to get one that is missing.

Does not know what the messages are used for.
"""

from __future__ import annotations

# ruff: noqa: F401 (imported for other modules)

try:
    import rclpy
except ImportError as error:
    raise ImportError(
        "the node needs ROS 2 and its Python library rclpy, which this Python cannot import: "
        "source /opt/ros/<distro>/setup.bash in this shell first "
        f"(video files and bags need no ROS: sam2-ros --help). Python error: {error}"
    ) from error

try:
    from sam2_ros_msgs.action import TrackUntil
    from sam2_ros_msgs.msg import (
        ObjectStatus,
        ObjectStatusArray,
        Prompt,
        PromptArray,
        PromptEvent,
        PromptPoint,
        TrackedObject,
        TrackedObjectArray,
    )
    from sam2_ros_msgs.srv import (
        AddObjects,
        Enroll,
        LoadState,
        ObjectCloud,
        PublishMask,
        RemoveObjects,
        SaveState,
        Segment,
    )
except ImportError as error:
    raise ImportError(
        "the node needs its message package sam2_ros_msgs, which is not built or not sourced. A plain colcon "
        "build does not find it inside the repository; run in the clone: "
        "colcon build --base-paths . sam2_ros_msgs && . install/setup.bash "
        "(in a workspace: colcon build --base-paths src src/sam2_ros/sam2_ros_msgs). "
        f"Python error: {error}"
    ) from error
