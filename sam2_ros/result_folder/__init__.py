# SPDX-License-Identifier: Apache-2.0
"""Result folders (`--out`): which files a command owns, and how a new result replaces an earlier one.

Knows names and bytes of files; does not know their content, nor which command writes which file.
"""
