# SPDX-License-Identifier: Apache-2.0
"""Results as ROS messages: which topics there are, what goes out with each image. Does no arithmetic."""
