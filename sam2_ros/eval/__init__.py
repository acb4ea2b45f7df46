"""Measures and shows how well tracking works: scores, live replay through a node, reports, the demo, timings.

Knows no command line and does not import the node; a live node is a process it starts and talks to over DDS.
"""
