# SPDX-License-Identifier: Apache-2.0
"""`sam2-ros replay`: what a robot would have received on a recorded bag, from the live node and without real time.

Knows no command line; `live.player` handles the live graph.
"""
