# SPDX-License-Identifier: Apache-2.0
"""A detector beside the tracker: its boxes bring hidden objects back and, when asked, start new ones.

Importing this package does not import vision_msgs.
"""
