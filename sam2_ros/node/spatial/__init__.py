# SPDX-License-Identifier: Apache-2.0
"""Depth and 3D: where the tracked objects are, in metres.

Knows nothing of how they are tracked. `object_locator` is the way in; the rest needs no ROS but for the
messages it makes.
"""
