# SPDX-License-Identifier: Apache-2.0
"""Published evaluation sets as sequences of frames with known masks, and photographs with known instances.

Knows how they lie on disk; does not know models or scores.
"""
