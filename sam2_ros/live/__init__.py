# SPDX-License-Identifier: Apache-2.0
"""Starts the node as a process, and plays images and prompts to it over ROS. Knows no command line."""
