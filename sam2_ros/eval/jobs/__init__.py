# SPDX-License-Identifier: Apache-2.0
"""Runs independent jobs: in this process, in several, or on a Ray cluster. A job that fails does not end the others.

Knows nothing of what a job does.
"""
