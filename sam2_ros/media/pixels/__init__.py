# SPDX-License-Identifier: Apache-2.0
"""Turns stored pixels into 8-bit RGB: encoded pictures, planes of cameras, values of more than 8 bits.

It knows neither ROS nor files: `media.ros_image` has the fields of messages.
"""
