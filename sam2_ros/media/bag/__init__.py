# SPDX-License-Identifier: Apache-2.0
"""Reads and writes rosbag2 recordings without a ROS installation. Does not know what the images are used for."""

from .storage import BagReader, BagWriter

__all__ = ["BagReader", "BagWriter"]
