"""Folders that runs leave results in: whose files are whose, and how a new result takes the place of an earlier one.

Knows names and bytes of files; does not know what is in them, nor which command writes what.
"""
