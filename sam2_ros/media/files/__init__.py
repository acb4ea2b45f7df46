# SPDX-License-Identifier: Apache-2.0
"""What plain files say of frames: videos and their containers, names of images, other things beside the frames.

Knows nothing of bags, prompts or results.
"""
