# SPDX-License-Identifier: Apache-2.0
"""rosbag2 recordings, read and written without a ROS installation. Knows nothing of what is made of their images."""

from .storage import BagReader, BagWriter

__all__ = ["BagReader", "BagWriter"]
