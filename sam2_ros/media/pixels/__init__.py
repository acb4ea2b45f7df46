# SPDX-License-Identifier: Apache-2.0
"""Converts stored pixels to 8-bit RGB: encoded images, planar YUV, values of more than 8 bits.

Knows neither ROS nor files; `media.ros_image` knows the fields of messages.
"""
