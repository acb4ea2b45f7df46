# SPDX-License-Identifier: Apache-2.0
"""What synthetic clips are made of: textures, outlines, things, scenes, motion.

It knows nothing of models; `sam2_ros.synthetic.render` is the door.
"""
