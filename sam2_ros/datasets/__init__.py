# SPDX-License-Identifier: Apache-2.0
"""Evaluation datasets as sequences of frames with ground-truth masks, and photographs with ground-truth instances.

Knows their layout on disk; does not know models or scores.
"""
