# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix: one line each, with an exit status for the command.

Knows nothing of what failed. A subclass exists only where code must distinguish it from the others.
"""

from __future__ import annotations


class UserError(ValueError):
    """An error that a user can fix. One line: what was given, what was expected, what to do.

    Subclasses: `PromptError`, `SourceError`, `ImageError`, `CheckpointError`. Any other exception that ends a command
    is a bug, and is shown with its traceback.

    Args:
        message: the line.
        status: exit status of a command that ends with this error: 2 for unusable input or options, 1 for a failure
            during the run.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


class CheckpointError(UserError):
    """A model cannot be opened or executed: its weights, its exported files or its device are unusable."""


def one_line(error: Exception) -> str:
    """An exception as one line, for a log or a reply: a UserError's message; any other with its type before it."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
