# SPDX-License-Identifier: Apache-2.0
"""Schema 0001: the first tables.

Does not know later versions.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _source_key() -> sa.Column:
    return sa.Column("source_id", sa.Integer, sa.ForeignKey("sources.id"), primary_key=True)


def _number(name: str) -> sa.Column:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)


def _value(name: str, kind: sa.types.TypeEngine | type[sa.types.TypeEngine]) -> sa.Column:
    return sa.Column(name, kind, nullable=False)


def upgrade() -> None:
    """Create the tables of an empty database."""
    op.create_table(
        "sources",
        sa.Column("id", sa.Integer, primary_key=True),
        _value("kind", sa.String(16)),
        _value("name", sa.Text),
        _value("path", sa.Text),
        _value("options", sa.JSON),
        _value("frames", sa.Integer),
        _value("fps", sa.Float),
        _value("width", sa.Integer),
        _value("height", sa.Integer),
        _value("next_object", sa.Integer),
        _value("added_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "objects",
        _source_key(),
        _number("object"),
        _value("name", sa.Text),
        _value("class_id", sa.Text),
        _value("colour", sa.String(7)),
        _value("locked", sa.Boolean),
    )
    op.create_table(
        "prompts",
        _source_key(),
        _number("object"),
        _number("frame"),
        _value("items", sa.JSON),
        sa.Column("base", sa.LargeBinary),
        _value("accepted", sa.Boolean),
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("source_id", sa.Integer, sa.ForeignKey("sources.id"), nullable=False),
        _value("kind", sa.String(16)),
        _value("model", sa.Text),
        _value("made_by", sa.Text),
        _value("made_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "masks",
        _source_key(),
        _number("object"),
        _number("frame"),
        _value("runs", sa.LargeBinary),
        _value("presence", sa.Float),
        _value("predicted_iou", sa.Float),
        _value("state", sa.SmallInteger),
        _value("keyframe", sa.Boolean),
        _value("area", sa.Integer),
        _value("centroid_x", sa.Float),
        _value("centroid_y", sa.Float),
        sa.Column("run_id", sa.Integer, sa.ForeignKey("runs.id"), nullable=False),
    )
    op.create_table(
        "history",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("source_id", sa.Integer, sa.ForeignKey("sources.id"), nullable=False, index=True),
        _value("title", sa.Text),
        _value("undone", sa.Boolean),
        _value("bytes", sa.Integer),
        _value("made_by", sa.Text),
        _value("made_at", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "history_parts",
        sa.Column("history_id", sa.Integer, sa.ForeignKey("history.id"), primary_key=True),
        _number("part"),
        _value("rows", sa.LargeBinary),
    )
    op.create_table("settings", _source_key(), _value("settings", sa.JSON))
