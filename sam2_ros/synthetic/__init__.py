# SPDX-License-Identifier: Apache-2.0
"""Renders synthetic clips with exact masks: textures, outlines, things, scenes, motion.

Knows nothing of models; `sam2_ros.synthetic.render` is the entry point.
"""
