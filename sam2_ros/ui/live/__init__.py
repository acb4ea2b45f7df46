# SPDX-License-Identifier: Apache-2.0
"""A running node beside the page: its images with results, its state, and prompts by its own services; recorded.

The only part of the page that knows ROS. Knows no HTTP.
"""
