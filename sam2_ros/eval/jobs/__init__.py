# SPDX-License-Identifier: Apache-2.0
"""Runs independent jobs: in this process, in several, or on a Ray cluster. A failed job does not stop the others.

Does not know what a job does.
"""
