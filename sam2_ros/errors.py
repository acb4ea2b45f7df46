# SPDX-License-Identifier: Apache-2.0
"""Errors that a user can fix: one line each, with the exit status of the command that ends with one.

Knows nothing of what failed. A subclass exists where code tells it from the others, and nowhere else.
"""

from __future__ import annotations


class UserError(ValueError):
    """What a user can mend. One line: what was given, what was expected, what to do.

    Subclasses: `PromptError`, `SourceError`, `ImageError`, `CheckpointError`. Anything else that leaves a command is a
    defect, and shown with its traceback.

    Args:
        message: the line.
        status: exit status of a command that ends with it: 2 for input or options that cannot be used, 1 for what
            failed while it ran.
    """

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


class CheckpointError(UserError):
    """A model that cannot be opened or executed: its weights, its export, or where it is to run."""


def one_line(error: Exception) -> str:
    """An exception as one line, for a log or a reply: a UserError's message; any other with its type before it."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"
