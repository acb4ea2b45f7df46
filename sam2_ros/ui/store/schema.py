# SPDX-License-Identifier: Apache-2.0
"""Tables of a project, in plain SQLAlchemy Core: nothing in them belongs to one kind of database.

Does not know how tables are made from an older schema (`migrations/`), nor who reads and writes them.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

SCHEMA_VERSION = "0001"  # revision of the newest migration

metadata = MetaData()

sources = Table(
    "sources",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),  # video, folder, bag, demo
    Column("name", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("options", JSON, nullable=False),  # topic, glob, fps
    Column("frames", Integer, nullable=False),  # announced, exact once all are decoded
    Column("fps", Float, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("next_object", Integer, nullable=False),  # numbers of deleted objects are never used again
    Column("added_at", DateTime(timezone=True), nullable=False),
)
objects = Table(
    "objects",
    metadata,
    Column("source_id", ForeignKey("sources.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),  # its number in this source
    Column("name", Text, nullable=False),
    Column("class_id", Text, nullable=False),
    Column("colour", String(7), nullable=False),  # #rrggbb
    Column("locked", Boolean, nullable=False),
)
prompts = Table(
    "prompts",
    metadata,
    Column("source_id", ForeignKey("sources.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
    Column("frame", Integer, primary_key=True, autoincrement=False),
    Column("items", JSON, nullable=False),  # clicks, box and strokes in the order in which they were made
    Column("base", LargeBinary),  # packed run lengths of the tracked mask that they correct
    Column("accepted", Boolean, nullable=False),
)
runs = Table(
    "runs",
    metadata,
    Column("id", Integer, primary_key=True),  # a later run has a higher one
    Column("source_id", ForeignKey("sources.id"), nullable=False),
    Column("kind", String(16), nullable=False),  # prompt, track
    Column("model", Text, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
)
masks = Table(
    "masks",
    metadata,
    Column("source_id", ForeignKey("sources.id"), primary_key=True),
    Column("object", Integer, primary_key=True, autoincrement=False),
    Column("frame", Integer, primary_key=True, autoincrement=False),
    Column("runs", LargeBinary, nullable=False),  # packed run lengths
    Column("presence", Float, nullable=False),  # object score logit
    Column("predicted_iou", Float, nullable=False),
    Column("state", SmallInteger, nullable=False),  # ObjectState of the engine
    Column("keyframe", Boolean, nullable=False),  # made by prompts: tracking never overwrites it
    Column("area", Integer, nullable=False),  # pixels
    Column("centroid_x", Float, nullable=False),
    Column("centroid_y", Float, nullable=False),
    Column("run_id", ForeignKey("runs.id"), nullable=False),
)
history = Table(
    "history",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("source_id", ForeignKey("sources.id"), nullable=False, index=True),
    Column("title", Text, nullable=False),
    Column("undone", Boolean, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("made_at", DateTime(timezone=True), nullable=False),
)
history_parts = Table(
    "history_parts",
    metadata,
    Column("history_id", ForeignKey("history.id"), primary_key=True),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("rows", LargeBinary, nullable=False),  # see `changes.py`
)
settings = Table(
    "settings",
    metadata,
    Column("source_id", ForeignKey("sources.id"), primary_key=True),
    Column("settings", JSON, nullable=False),
)
