# SPDX-License-Identifier: Apache-2.0
"""SAM 2 as a ROS 2 node: keep hold of an object in a camera stream."""

__version__ = "0.1.0"
