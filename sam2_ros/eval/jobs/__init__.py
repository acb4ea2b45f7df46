"""Runs many independent jobs, here, in processes or on a Ray cluster, so that one that fails costs itself only.

Knows nothing of what a job does.
"""
