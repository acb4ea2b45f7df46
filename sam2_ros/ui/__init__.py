# SPDX-License-Identifier: Apache-2.0
"""The browser page: click on objects, track them, correct, export. Imported by `sam2-ros ui` only.

Knows nothing of training or evaluation.
"""
