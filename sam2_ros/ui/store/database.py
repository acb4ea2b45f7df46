# SPDX-License-Identifier: Apache-2.0
"""Opens the database of a project: creates or migrates its tables, and refuses one that it cannot read.

The only place that knows SQLite: its pragmas and how its transactions begin. Does not know what is stored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, create_engine, event, inspect
from sqlalchemy.exc import DBAPIError

from sam2_ros.errors import UserError

from .schema import SCHEMA_VERSION

DATABASE_NAME = "project.db"
WRITES = "sam2_ros_writes"  # execution option of a connection that will write
_VERSION = Table("alembic_version", MetaData(), Column("version_num", String(32)))
_MIGRATIONS = Path(__file__).parent / "migrations"


def open_database(path: Path) -> Engine:
    """Open an SQLite database at the newest schema; a missing file is created.

    Every commit is on disk when it returns (WAL, synchronous FULL): it survives a killed process and a power failure.

    Raises:
        UserError: the file is no database, cannot be written, or was written by a newer version.
    """
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": 30, "check_same_thread": False})
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    try:
        migrate(engine, str(path))
    except DBAPIError as error:
        engine.dispose()
        raise UserError(
            f"{path} cannot be opened as a project ({error.orig}): expected a database that `sam2-ros ui` wrote, in a "
            "folder that can be written; give another --project, or move the file away"
        ) from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transactions: `_begin_sqlite` does, for DDL too
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A reading transaction that turns into a writing one fails if another has written meanwhile.
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def migrate(engine: Engine, name: str) -> None:
    """Bring the tables to the newest schema in one transaction. Raises UserError if they are of a newer version."""
    with engine.connect().execution_options(**{WRITES: True}) as connection, connection.begin():
        tables = inspect(connection).get_table_names()
        found = None
        if _VERSION.name in tables:
            found = connection.scalar(_VERSION.select())
        if found == SCHEMA_VERSION:
            return
        if found is not None and found > SCHEMA_VERSION:
            raise UserError(
                f"{name} has schema {found}, this version of sam2_ros reads up to {SCHEMA_VERSION}: "
                "update sam2_ros, or give another --project"
            )
        if found is None and tables:
            raise UserError(
                f"{name} is a database of another program: expected one that `sam2-ros ui` wrote; "
                "give another --project"
            )
        _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(_MIGRATIONS))

    def steps(revision: Any, _context: Any) -> Any:
        return scripts._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
