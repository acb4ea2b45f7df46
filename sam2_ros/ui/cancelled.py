# SPDX-License-Identifier: Apache-2.0
"""The exception of a long job that the user has cancelled.

Does not know which job.
"""

from __future__ import annotations


class Cancelled(Exception):
    """The job was cancelled by the user; nothing of it is left. Not an error to show."""
