# SPDX-License-Identifier: Apache-2.0
"""Clips made of photographs with instance masks: cut-outs, backdrops, and cameras that move over a photograph.

Does not know where the photographs are stored, nor in which format.
"""
