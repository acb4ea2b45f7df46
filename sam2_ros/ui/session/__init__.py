# SPDX-License-Identifier: Apache-2.0
"""The logic of the page: objects, prompts, keyframes, tracking both ways, undo and redo, saved after every action.

Knows the engine, frames and the store. Knows no HTTP.
"""

from .events import Event, Lane, MaskEvent, ObjectMask
from .session import Session
from .workspace import Workspace, WorkspaceConfig

__all__ = ["Event", "Lane", "MaskEvent", "ObjectMask", "Session", "Workspace", "WorkspaceConfig"]
