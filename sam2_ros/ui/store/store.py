# SPDX-License-Identifier: Apache-2.0
"""The store of one project: every change is one transaction, and is saved when the call returns.

Thread-safe; one process at a time. Knows rows; does not know how masks are made.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, insert, select, update
from sqlalchemy.exc import OperationalError

from sam2_ros.errors import UserError
from sam2_ros.result_folder.guards import lock_folder

from . import history
from .action import Action
from .changes import insert_new
from .database import DATABASE_NAME, WRITES, open_database
from .rows import MaskRow, ObjectRow, PromptRow, SourceRow
from .schema import masks, objects, prompts, settings, sources

HISTORY_BYTES = 256 << 20


class Store:
    """Sources, objects, prompts, masks, history and settings of one project folder.

    Attributes:
        folder: the project folder.
        by: who changes it, noted with every action.
    """

    def __init__(self, folder: Path, engine: Engine, lock: int | None, by: str, history_bytes: int) -> None:
        self.folder, self.by = folder, by
        self._engine, self._lock_descriptor, self._history_bytes = engine, lock, history_bytes
        self._writing = threading.RLock()

    @staticmethod
    def open(folder: Path, by: str = "", history_bytes: int = HISTORY_BYTES) -> Store:
        """Open or create a project.

        Args:
            folder: the project folder; it is created if it is missing.
            by: who changes it.
            history_bytes: most bytes of the history of each source; the oldest entries are dropped beyond them.

        Raises:
            UserError: the folder cannot be used, another process has it open, or the database cannot be read.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = lock_folder(folder)
        except OSError as error:
            raise UserError(
                f"--project {folder} cannot be used ({error.strerror}): expected a folder that can be written"
            ) from error
        if lock is None:
            raise UserError(
                f"project {folder} is open in another server: use its address, end it, or give another --project"
            )
        try:
            engine = open_database(folder / DATABASE_NAME)
        except BaseException:
            os.close(lock)
            raise
        return Store(folder, engine, lock, by, history_bytes)

    def close(self) -> None:
        """Close the database and release the lock. Everything is saved already."""
        self._engine.dispose()
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One writing transaction; others wait. It is undone if the block raises.

        Raises:
            UserError: the database cannot be written, such as on a full disk.
        """
        try:
            with self._writing, self._engine.connect() as connection:
                writing = connection.execution_options(**{WRITES: True})
                with writing.begin():
                    yield writing
        except OperationalError as error:
            raise UserError(
                f"{self.folder / DATABASE_NAME} cannot be written ({error.orig}): make room, and do it again; nothing "
                "of it was stored",
                status=1,
            ) from error

    def sources(self) -> list[SourceRow]:
        """All sources, in the order in which they were added."""
        columns = [c for c in sources.c if c.name not in ("next_object", "added_at")]
        return [SourceRow(**row) for row in self._read(select(*columns).order_by(sources.c.id))]

    def add_source(self, source: SourceRow) -> SourceRow:
        """Store a new source; returns it with its id."""
        row = asdict(source) | {"next_object": 1, "added_at": datetime.now(timezone.utc)}
        del row["id"]
        with self.transaction() as connection:
            number = insert_new(connection, sources, row)
        return SourceRow(**(asdict(source) | {"id": number}))

    def update_source(self, source: int, values: Mapping[str, Any]) -> None:
        """Change some columns of a source, such as its number of frames."""
        with self.transaction() as connection:
            connection.execute(update(sources).where(sources.c.id == source).values(**values))

    def objects(self, source: int) -> list[ObjectRow]:
        """The objects of a source, by number."""
        query = select(objects).where(objects.c.source_id == source).order_by(objects.c.object)
        return [ObjectRow(**row) for row in self._read(query)]

    def prompts(self, source: int) -> list[PromptRow]:
        """All prompts of a source, by object and frame."""
        query = select(prompts).where(prompts.c.source_id == source)
        return [PromptRow(**row) for row in self._read(query.order_by(prompts.c.object, prompts.c.frame))]

    def masks_at(self, source: int, frame: int) -> list[MaskRow]:
        """The masks of one frame, by object."""
        query = select(masks).where(masks.c.source_id == source, masks.c.frame == frame)
        return [MaskRow(**row) for row in self._read(query.order_by(masks.c.object))]

    def masks_of(self, source: int, object: int, first: int = 0, end: int | None = None) -> list[MaskRow]:
        """The masks of one object on the frames from `first` to `end` (exclusive; None = all), by frame."""
        query = select(masks).where(
            masks.c.source_id == source, masks.c.object == object, masks.c.frame >= first
        )
        if end is not None:
            query = query.where(masks.c.frame < end)
        return [MaskRow(**row) for row in self._read(query.order_by(masks.c.frame))]

    def mask_numbers(self, source: int, object: int) -> list[dict[str, Any]]:
        """All columns of an object's masks but the runs, by frame."""
        columns = [c for c in masks.c if c.name not in ("runs", "source_id", "object")]
        query = select(*columns).where(masks.c.source_id == source, masks.c.object == object)
        return self._read(query.order_by(masks.c.frame))

    def keyframes(self, source: int) -> list[MaskRow]:
        """The masks that were made by prompts, by object and frame."""
        query = select(masks).where(masks.c.source_id == source, masks.c.keyframe)
        return [MaskRow(**row) for row in self._read(query.order_by(masks.c.object, masks.c.frame))]

    def object_counts(self) -> dict[int, int]:
        """Number of objects by source."""
        query = select(objects.c.source_id, func.count().label("count")).group_by(objects.c.source_id)
        return {row["source_id"]: row["count"] for row in self._read(query)}

    def settings(self, source: int) -> dict[str, Any]:
        """The settings of a source; {} if none were stored."""
        found = self._read(select(settings.c.settings).where(settings.c.source_id == source))
        return dict(found[0]["settings"]) if found else {}

    def put_settings(self, source: int, values: Mapping[str, Any]) -> None:
        """Replace the settings of a source."""
        with self.transaction() as connection:
            connection.execute(settings.delete().where(settings.c.source_id == source))
            connection.execute(insert(settings).values(source_id=source, settings=dict(values)))

    @contextmanager
    def action(self, source: int, title: str, extends: int | None = None) -> Iterator[Action]:
        """One change that can be undone, in one transaction; nothing is stored if the block raises.

        Args:
            source: the source.
            title: what was done, such as "click on cup".
            extends: the number of an earlier entry of the history (`Action.entry`) of which this is a further part; if
                it is no longer the newest, a new one begins: later actions are undone before earlier ones.
        """
        with self.transaction() as connection:
            action = Action(connection, source, title, self.by, extends)
            yield action
            action.finish()
            action.dropped = history.drop_old(connection, source, self._history_bytes)

    def undo(self, source: int) -> str:
        """Undo the newest action of a source; returns its title, "" if there is none."""
        with self.transaction() as connection:
            return history.step(connection, source, undo=True)

    def redo(self, source: int) -> str:
        """Redo the action that was undone last; returns its title, "" if there is none."""
        with self.transaction() as connection:
            return history.step(connection, source, undo=False)

    def titles(self, source: int) -> tuple[str, str]:
        """What `undo` and `redo` would undo and redo; "" for nothing."""
        with self._engine.connect() as connection:
            undo, redo = (history.next_entry(connection, source, way) for way in (True, False))
        return (undo.title if undo else "", redo.title if redo else "")

    def _read(self, query: Select[Any]) -> list[dict[str, Any]]:
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
