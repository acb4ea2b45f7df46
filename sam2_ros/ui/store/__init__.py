# SPDX-License-Identifier: Apache-2.0
"""The project folder and its database: sources, objects, prompts, masks, history, settings.

The only package that imports SQLAlchemy and alembic. Knows no model, no frames and no HTTP.
"""

from .database import DATABASE_NAME
from .rows import MaskRow, ObjectRow, PromptRow, SourceRow
from .store import Store

__all__ = ["DATABASE_NAME", "MaskRow", "ObjectRow", "PromptRow", "SourceRow", "Store"]
