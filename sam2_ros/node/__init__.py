# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node: images and prompts in, tracked objects out.

Knows nothing of how an object is tracked: `sam2_ros.engine` does that. Importing this package does not import
ROS.
"""
