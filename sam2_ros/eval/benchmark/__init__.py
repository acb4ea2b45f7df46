"""Evaluates tracking on published sets: prompts drawn from the truth, J & F, speed, simple trackers beside it.

Knows no command line; the sets are opened by `datasets`.
"""
