# SPDX-License-Identifier: Apache-2.0
"""Changes of rows that can be undone: writes rows, and packs those that they replaced.

Undo and redo are the same step: the packed rows and the present ones change places. Does not know what rows mean.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, insert, select, tuple_

from .schema import masks, objects, prompts

TABLES = {table.name: table for table in (objects, prompts, masks)}
_CHUNK = 200  # keys in one query

Key = tuple[int, ...]
Row = dict[str, Any]
Change = tuple[str, Key, Row | None]
"""Table, primary key, and the row that is to be there; None = none."""


def insert_new(connection: Connection, table: Table, values: Row) -> int:
    """Insert a row with a number of its own; returns that."""
    inserted = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert inserted is not None, "the table has a primary key that counts"
    return int(inserted[0])


def key_of(table: Table, row: Row) -> Key:
    """The primary key of a row."""
    return tuple(row[column.name] for column in table.primary_key)


def apply(connection: Connection, changes: Sequence[Change]) -> list[Change]:
    """Write rows; returns the changes that bring back what they replaced. The keys of one call are distinct."""
    before: list[Change] = []
    for name in dict.fromkeys(change[0] for change in changes):
        table = TABLES[name]
        rows = {key: row for changed, key, row in changes if changed == name}
        found = _found(connection, table, rows)
        before += [(name, key, found.get(key)) for key in rows]
        columns = list(table.primary_key)
        for keys in _chunks(list(rows)):
            connection.execute(delete(table).where(tuple_(*columns).in_(keys)))
        if new := [row for row in rows.values() if row is not None]:
            connection.execute(insert(table), new)
    return before


def _found(connection: Connection, table: Table, keys: Iterable[Key]) -> dict[Key, Row]:
    found: dict[Key, Row] = {}
    for chunk in _chunks(list(keys)):
        query = select(table).where(tuple_(*table.primary_key).in_(chunk))
        found |= {key_of(table, row): row for row in map(dict, connection.execute(query).mappings())}
    return found


def _chunks(keys: list[Key]) -> Iterable[list[Key]]:
    return (keys[at : at + _CHUNK] for at in range(0, len(keys), _CHUNK))


def packed(changes: Sequence[Change]) -> bytes:
    """Changes as compressed JSON: reading it runs no code, whoever wrote the project."""
    return zlib.compress(json.dumps([list(change) for change in changes], default=_bytes).encode(), 1)


def unpacked(data: bytes) -> list[Change]:
    """The changes of `packed`."""
    return [
        (name, tuple(key), row) for name, key, row in json.loads(zlib.decompress(data), object_hook=_object)
    ]


def _bytes(value: bytes) -> dict[str, str]:
    return {"base64": base64.b64encode(value).decode("ascii")}


def _object(read: dict[str, Any]) -> Any:
    return base64.b64decode(read["base64"]) if set(read) == {"base64"} else read
