# SPDX-License-Identifier: Apache-2.0
"""Result folders (`--out`): which files are ours, and how a new result replaces an earlier one.

Knows names and bytes of files; does not know what is in them, nor which command writes what.
"""
