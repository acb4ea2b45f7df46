# SPDX-License-Identifier: Apache-2.0
"""Computes 3D positions, sizes and velocities of the tracked objects from depth images, camera_info and tf.

Does not know how objects are tracked. The entry point is `object_locator`.
"""
