# SPDX-License-Identifier: Apache-2.0
"""Frames in, results out: video files, image folders, rosbag2, raw ROS image buffers, overlays, rendered clips.

Knows nothing of a ROS graph (no rclpy) and nothing of how masks are computed.
"""
