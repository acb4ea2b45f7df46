# SPDX-License-Identifier: Apache-2.0
"""SAM 2 as a ROS 2 node, a library and a command line: tracks prompted objects through a camera stream."""

__version__ = "0.1.0"
