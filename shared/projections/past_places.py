"""Where past copies are: each in a database of its own, so that filling one keeps nobody from writing to the views.

SQLite: ``<folder>/past/<service>-<number>.db``; it is cloned by copying pages and dropped by removing the file, which
readers that are in it do not notice. PostgreSQL: a schema ``<service>-at-<number>``, dropped only when nobody reads it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from shared.errors import Unavailable
from shared.projections.database import Database
from shared.projections.tables import checkpoints
from shared.projections.view import View

CONNECTIONS = 2
"""Most connections of one process to one copy; further readers wait for one."""
PAGES = 4_096
"""Pages of an SQLite file that are cloned at a time."""
DROP_WAIT_MS = 200
"""So long a drop waits for readers on PostgreSQL before it is left for another time."""

OnProgress = Callable[[], None]


class Places:
    """Of the copies of one service's views. ``url`` is that of its read models."""

    def __init__(self, url: str, service: str, views: Sequence[View]) -> None:
        self._service = service
        self._views = views
        self._is_sqlite = url.startswith("sqlite:")
        self._url = f"{url}/past" if self._is_sqlite else url
        self._folder = Path(self._url.removeprefix("sqlite:///")) if self._is_sqlite else None

    def name(self, number: int) -> str:
        """Of the file, or the schema, of a copy."""
        return f"{self._service}-{number}" if self._is_sqlite else f"{self._service}-at-{number}"

    def open(self, number: int) -> Database:
        """The database of a copy; the caller closes it."""
        return Database(self._url, self.name(number), pool_size=CONNECTIONS)

    def create(self, number: int) -> None:
        """Make the place of a copy: empty tables, without indexes."""
        with closing(self.open(number)) as database:
            database.prepare([])
            with database.writing() as connection:
                for view in self._views:
                    tables = database.tables(view)
                    database.create_tables(connection, tables)
                    row = {"name": tables.checkpoint, "position": None, "version": view.version, "epoch": 0}
                    connection.execute(sa.insert(checkpoints).values(row))

    def clone(self, base: int, number: int, told: OnProgress) -> None:
        """Make the place of a copy as a ready one is. ``told`` is called now and then, and may end it by raising.
        Raises ``Unavailable``."""
        if self._folder is not None:
            self._clone_file(self._folder, base, number, told)
        else:
            self._clone_schema(base, number, told)

    def _clone_file(self, folder: Path, base: int, number: int, told: OnProgress) -> None:
        source = (folder / f"{self.name(base)}.db").as_uri() + "?mode=rw"
        try:
            with (
                closing(sqlite3.connect(source, uri=True)) as old,
                closing(sqlite3.connect(folder / f"{self.name(number)}.db")) as new,
            ):
                old.backup(new, pages=PAGES, progress=lambda status, remaining, total: told())
        except sqlite3.Error as error:
            raise Unavailable(f"the copy {self.name(base)} cannot be cloned: {error}") from error

    def _clone_schema(self, base: int, number: int, told: OnProgress) -> None:
        self.create(number)
        with closing(self.open(number)) as database:
            quote = database.dialect.identifier_preparer.quote
            old, new = quote(self.name(base)), quote(self.name(number))
            tables = [table for view in self._views for table in _tables(database, view)]
            with database.writing() as connection:
                for table in (*tables, "projection_parked"):
                    told()
                    columns = _columns(connection, table)
                    connection.exec_driver_sql(
                        f"INSERT INTO {new}.{quote(table)} ({columns}) SELECT {columns} FROM {old}.{quote(table)}"  # noqa: S608 - names of ours
                    )
                connection.exec_driver_sql(f"DELETE FROM {new}.checkpoints")  # noqa: S608 - as above
                connection.exec_driver_sql(f"INSERT INTO {new}.checkpoints SELECT * FROM {old}.checkpoints")  # noqa: S608

    def finish(self, number: int) -> None:
        """Give a copy that was filled its indexes."""
        with closing(self.open(number)) as database, database.writing() as connection:
            for view in self._views:
                database.create_indexes(connection, database.tables(view), epoch=0)
                if not self._is_sqlite:
                    for table in _tables(database, view):
                        connection.exec_driver_sql(f"ANALYZE {database.dialect.identifier_preparer.quote(table)}")

    def drop(self, connection: sa.Connection, number: int) -> None:
        """Remove a copy, on PostgreSQL inside this transaction of the service's database, which is ``Unavailable`` when
        somebody reads the copy; on SQLite at once."""
        if self._folder is not None:
            for end in ("", "-wal", "-shm", "-journal"):
                (self._folder / f"{self.name(number)}.db{end}").unlink(missing_ok=True)
            return
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{DROP_WAIT_MS}ms'")
        connection.execute(sa.schema.DropSchema(self.name(number), cascade=True, if_exists=True))

    def numbers(self, connection: sa.Connection) -> set[int]:
        """Of all copies that have a place."""
        if self._folder is not None:
            names = {path.stem for path in self._folder.glob("*.db")}
        else:
            names = set(sa.inspect(connection).get_schema_names())
        pattern = re.compile(re.escape(self.name(0)).removesuffix("0") + r"(\d{1,18})")
        return {int(match[1]) for name in names if (match := pattern.fullmatch(name))}


def _tables(database: Database, view: View) -> tuple[str, ...]:
    return tuple(table.name for table in database.tables(view).all)


def _columns(connection: sa.Connection, table: str) -> str:
    quote = connection.dialect.identifier_preparer.quote
    names = (column["name"] for column in sa.inspect(connection).get_columns(table))
    return ", ".join(quote(name) for name in names if (table, name) != ("projection_parked", "id"))
