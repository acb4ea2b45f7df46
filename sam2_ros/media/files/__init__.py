# SPDX-License-Identifier: Apache-2.0
"""Reads frames from plain files: videos and their containers, image folders and their file names.

Knows nothing of bags, prompts or results.
"""
