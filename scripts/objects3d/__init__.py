# SPDX-License-Identifier: Apache-2.0
"""Renders training clips of 3D models. Does not know training."""
