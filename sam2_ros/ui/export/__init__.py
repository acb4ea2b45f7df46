# SPDX-License-Identifier: Apache-2.0
"""Exports of an opened source: movie with effects, masks, prompts that repeat the tracking, bag.

Knows plain frames and masks (`exported.py`). Does not know sessions, projects or HTTP.
"""
