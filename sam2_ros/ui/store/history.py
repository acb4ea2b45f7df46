# SPDX-License-Identifier: Apache-2.0
"""The history of a source: undo and redo of stored changes, which survive a restart, and its limit in bytes.

Works on one connection of the store. Does not know what the changes mean.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, update

from .changes import apply, packed, unpacked
from .schema import history, history_parts


def next_entry(connection: Connection, source: int, undo: bool) -> Row[Any] | None:
    """The entry that an undo or redo would change; None if there is none."""
    newest_first = history.c.id.desc() if undo else history.c.id
    query = select(history).where(history.c.source_id == source, history.c.undone == (not undo))
    return connection.execute(query.order_by(newest_first).limit(1)).first()


def is_newest(connection: Connection, source: int, entry: int) -> bool:
    """True if the entry is the one that an undo would undo."""
    newest = next_entry(connection, source, undo=True)
    return newest is not None and newest.id == entry


def step(connection: Connection, source: int, undo: bool) -> str:
    """Undo or redo one entry; returns its title, "" if there is none.

    The stored rows and the present ones change places, part by part.
    """
    entry = next_entry(connection, source, undo)
    if entry is None:
        return ""
    of_entry = history_parts.c.history_id == entry.id
    parts = [row.part for row in connection.execute(select(history_parts.c.part).where(of_entry))]
    size = 0
    for part in sorted(parts, reverse=undo):
        chosen = of_entry & (history_parts.c.part == part)
        data = connection.scalar(select(history_parts.c.rows).where(chosen))
        swapped = packed(swap(connection, unpacked(data or b"")))
        connection.execute(update(history_parts).where(chosen).values(rows=swapped))
        size += len(swapped)
    connection.execute(update(history).where(history.c.id == entry.id).values(undone=undo, bytes=size))
    return str(entry.title)


def swap(connection: Connection, changes: list[Any]) -> list[Any]:
    """Apply changes in order, of which several may have the same key; returns those that bring back what was there."""
    replaced: list[Any] = []
    while changes:
        keys: set[Any] = set()
        distinct: list[Any] = []
        for change in changes:
            if change[:2] in keys:
                break
            keys.add(change[:2])
            distinct.append(change)
        replaced = apply(connection, distinct) + replaced
        changes = changes[len(distinct) :]
    return replaced


def forget_undone(connection: Connection, source: int) -> None:
    """Drop what was undone: after a new action it cannot be redone."""
    undone = select(history.c.id).where(history.c.source_id == source, history.c.undone)
    _drop(connection, [row.id for row in connection.execute(undone)])


def drop_old(connection: Connection, source: int, most_bytes: int) -> int:
    """Drop the oldest entries, but never the newest, until the rest fits; returns how many were dropped."""
    total = connection.scalar(select(func.sum(history.c.bytes)).where(history.c.source_id == source)) or 0
    if total <= most_bytes:
        return 0
    query = select(history.c.id, history.c.bytes).where(history.c.source_id == source)
    dropped = []
    for entry in connection.execute(query.order_by(history.c.id)).all()[:-1]:
        if total <= most_bytes:
            break
        total -= entry.bytes
        dropped.append(entry.id)
    _drop(connection, dropped)
    return len(dropped)


def _drop(connection: Connection, entries: list[int]) -> None:
    if entries:
        connection.execute(delete(history_parts).where(history_parts.c.history_id.in_(entries)))
        connection.execute(delete(history).where(history.c.id.in_(entries)))
