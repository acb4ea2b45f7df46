# SPDX-License-Identifier: Apache-2.0
"""Publishes results as ROS messages: the output topics, and the messages of each image. Does no arithmetic."""
