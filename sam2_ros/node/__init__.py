# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 node: images and prompts in, tracked objects out.

Does not know how an object is tracked: `sam2_ros.engine` does that. Importing this package does not import ROS.
"""
