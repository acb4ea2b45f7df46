# SPDX-License-Identifier: Apache-2.0
"""Tracking policies: training-free rules on masks and memories, each on or off by name and per object.

`policy` defines the five hooks, `names` the names, `runner` calls the policies of every object; one file each.
"""
