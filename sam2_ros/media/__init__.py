# SPDX-License-Identifier: Apache-2.0
"""Reads frames and writes results: video files, image folders, rosbag2, raw ROS image buffers, masks, overlays.

Knows nothing of a ROS graph (no rclpy) and nothing of how masks are computed.
"""
