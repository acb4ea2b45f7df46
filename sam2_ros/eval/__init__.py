# SPDX-License-Identifier: Apache-2.0
"""Quality of tracking: scores on annotated sequences, replays of bags, comparison of two runs, reports, the demo.

Knows no command line and does not import the node: a live node runs as a process of its own, reached over DDS.
"""
