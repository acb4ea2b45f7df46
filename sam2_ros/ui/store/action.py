# SPDX-License-Identifier: Apache-2.0
"""One change of a source that can be undone: the rows it writes, and its entry in the history.

Lives within one transaction. Does not know what the rows mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone

from sqlalchemy import Connection, func, insert, select, update

from . import history
from .changes import TABLES, Change, apply, insert_new, key_of, packed
from .rows import MaskRow, ObjectRow, PromptRow
from .schema import history as entries
from .schema import history_parts, masks, objects, prompts, runs, sources

_NAMES = {ObjectRow: objects.name, PromptRow: prompts.name, MaskRow: masks.name}


class Action:
    """Made by `Store.action`.

    Attributes:
        entry: its number in the history.
        dropped: number of old entries that were dropped to make room; known at the end.
    """

    def __init__(self, connection: Connection, source: int, title: str, by: str, extends: int | None) -> None:
        self._connection, self._source, self._by = connection, source, by
        self._replaced: list[Change] = []
        self.dropped = 0
        known = extends is not None and history.is_newest(connection, source, extends)
        if not known:
            history.forget_undone(connection, source)
        self.entry = extends if known and extends is not None else self._new_entry(title)

    def new_object(self) -> int:
        """A number that no object of this source has had."""
        chosen = sources.c.id == self._source
        number = int(self._connection.scalar(select(sources.c.next_object).where(chosen)) or 1)
        self._connection.execute(update(sources).where(chosen).values(next_object=number + 1))
        return number

    def new_run(self, kind: str, model: str) -> int:
        """The number of a new run, which its masks carry; higher than those of all earlier runs."""
        values = {"source_id": self._source, "kind": kind, "model": model}
        return insert_new(self._connection, runs, values | self._made())

    def put(self, rows: Sequence[ObjectRow | PromptRow | MaskRow]) -> None:
        """Write rows in place of those with the same keys; the keys of one call are distinct."""
        changes: list[Change] = []
        for row in rows:
            name, values = _NAMES[type(row)], asdict(row)
            changes.append((name, key_of(TABLES[name], values), values))
        self._apply(changes)

    def remove(self, rows: Sequence[ObjectRow | PromptRow | MaskRow]) -> None:
        """Remove the rows with the keys of these."""
        names = [_NAMES[type(row)] for row in rows]
        keys = [key_of(TABLES[name], asdict(row)) for name, row in zip(names, rows, strict=True)]
        self._apply([(name, key, None) for name, key in zip(names, keys, strict=True)])

    def finish(self) -> None:
        """Store the replaced rows as one part of the entry."""
        if not self._replaced:
            return
        chosen = history_parts.c.history_id == self.entry
        newest = self._connection.scalar(select(func.max(history_parts.c.part)).where(chosen))
        data = packed(self._replaced)
        part = 0 if newest is None else newest + 1
        self._connection.execute(insert(history_parts).values(history_id=self.entry, part=part, rows=data))
        size = entries.c.bytes + len(data)
        self._connection.execute(update(entries).where(entries.c.id == self.entry).values(bytes=size))

    def _apply(self, changes: list[Change]) -> None:
        if changes:
            # Undone from the last to the first.
            self._replaced = apply(self._connection, changes) + self._replaced

    def _new_entry(self, title: str) -> int:
        values = {"source_id": self._source, "title": title, "undone": False, "bytes": 0}
        return insert_new(self._connection, entries, values | self._made())

    def _made(self) -> dict[str, object]:
        return {"made_by": self._by, "made_at": datetime.now(timezone.utc)}
