# SPDX-License-Identifier: Apache-2.0
"""Uses the boxes of an external detector to find hidden objects again and, if asked, to start new ones.

Importing this package does not import vision_msgs.
"""
