# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros replay`: what a robot would have seen on a recorded bag, live and without the limits of real time.

Knows no command line; the live graph is `live.player`'s.
"""
