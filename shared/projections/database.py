"""The read models of one service on SQLite or PostgreSQL, with SQLAlchemy Core."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from shared.errors import Misuse, Unavailable
from shared.postgres import check_url
from shared.projections.comparison import digest
from shared.projections.tables import ViewTables, checkpoints, control, indexes, once, statement, view_tables
from shared.projections.view import View
from shared.store.port import Position

LOCK_WAIT_S = 5.0
"""How long a transaction waits for another one before it is ``Unavailable``."""
CONNECT_WAIT_S = 5
SILENCE_S = 15
"""So long may a PostgreSQL server leave what was sent without any acknowledgement before the connection is lost."""
SWAP_WAIT_MS = 250
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's code for a lock that was not had within ``lock_timeout``."""
POOL_SIZE = 20
"""Most connections at a time; whoever needs another waits ``POOL_WAIT_S``."""
POOL_WAIT_S = 10
CACHE_KIB = 16_384
"""Page cache of a connection (SQLite)."""
CHECKPOINT_PAGES = 4_000
"""Pages in SQLite's log before they are copied into the file: pages of views are written again and again."""

_SERVICE = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Checkpoints:
    """Positions by name, moved by compare-and-set: of two that follow the same thing, one gets on."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self, name: str) -> Position | None:
        """How far ``name`` got; None before its first ``advance``."""
        with self._database.connect() as connection:
            found = connection.execute(sa.select(checkpoints.c.position).where(checkpoints.c.name == name)).scalar()
        return None if found is None else Position(found)

    def advance(self, name: str, old: Position | None, new: Position) -> bool:
        """Move from ``old`` to ``new``; False, and nothing moved, if it was not at ``old``."""
        with self._database.writing() as connection:
            if old is None:
                row = {"name": name, "position": None, "version": 0, "epoch": 0}
                connection.execute(self._database.insert(checkpoints).values(row).on_conflict_do_nothing())
            moved = connection.execute(
                sa.update(checkpoints)
                .where(checkpoints.c.name == name, checkpoints.c.position.is_not_distinct_from(old))
                .values(position=new)
            )
            return moved.rowcount == 1


class Database:
    """Read models of one service.

    ``sqlite:///folder`` is one file ``<folder>/<service>.db``, made on demand; ``postgresql+psycopg://…`` is used as
    it is, with a schema named after the service. Connections are pooled and safe from any thread; what the database
    does not answer in time is ``Unavailable``.
    """

    def __init__(self, url: str, service: str, *, lock_wait_s: float = LOCK_WAIT_S, pool_size: int = POOL_SIZE) -> None:
        if not _SERVICE.fullmatch(service):
            raise Misuse(f"{service!r} is no name for a service's database")
        self.url = url
        self.service = service
        self._tables: dict[str, ViewTables] = {}
        self._prepared: dict[str, ViewTables] = {}
        self._hold: str | None = None
        self._closed = False
        self.is_sqlite = url.startswith("sqlite:")
        self._engine = (_sqlite_engine if self.is_sqlite else _postgres_engine)(url, service, lock_wait_s, pool_size)
        snapshot = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = self._engine.execution_options(**snapshot)
        self._writing = self._engine.execution_options(writing=True)

    @property
    def dialect(self) -> sa.Dialect:
        """What compiles statements for this database, with positional parameters."""
        return self._engine.dialect

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT with ``on_conflict_…``."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def prepare(self, views: Sequence[View]) -> None:
        """Create the tables that are missing, control tables too; safe to repeat, and from several processes.

        Tables of another version of a view are left as they are; the projector rebuilds them.
        """
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": self.service})
                connection.execute(sa.schema.CreateSchema(self.service, if_not_exists=True))
            control.create_all(connection)
            for view in views:
                self._create(connection, view)
        self._prepared.update({view.name: self.tables(view) for view in views})
        quote = self.dialect.identifier_preparer.format_table
        names = ", ".join(quote(table) for known in self._prepared.values() for table in known.all)
        self._hold = f"LOCK TABLE {names} IN ACCESS SHARE MODE" if names and not self.is_sqlite else None

    def _create(self, connection: sa.Connection, view: View) -> None:
        tables = self.tables(view)
        row = {"name": tables.checkpoint, "position": None, "version": view.version, "epoch": 0}
        insert = self.insert(checkpoints).values(row).on_conflict_do_nothing()
        if connection.execute(insert.returning(checkpoints.c.name)).first() is not None:
            self.create_tables(connection, tables)
            self.create_indexes(connection, tables, epoch=0)
        elif tables.members is not None:  # an older version had no sets; readers hold all tables of a view
            create = partial(sa.schema.CreateTable, tables.members, if_not_exists=True)
            connection.exec_driver_sql(statement(tables.members, self.dialect, "create missing", create))

    def create_tables(self, connection: sa.Connection, tables: ViewTables) -> None:
        """Create a view's empty tables, without indexes, in place of any that are there."""
        self.drop_tables(connection, tables)
        for table in tables.all:
            create = statement(table, self.dialect, "create", partial(sa.schema.CreateTable, table))
            connection.exec_driver_sql(create)

    def take_tables(self, connection: sa.Connection, tables: ViewTables) -> bool:
        """Have a view's tables for this transaction alone, so that they can be replaced; False if readers hold them.

        SQLite's readers go on with what they see. Those of PostgreSQL do not, and new ones queue up behind whoever
        waits for the running ones, so that the wait must be short: ``SWAP_WAIT_MS``.
        """
        if self.is_sqlite:
            return True
        names = ", ".join(map(self.dialect.identifier_preparer.format_table, tables.all))
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {SWAP_WAIT_MS}")
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            return False
        return True

    def create_indexes(self, connection: sa.Connection, tables: ViewTables, epoch: int) -> None:
        """Create a view's indexes."""

        def compiled() -> list[str]:
            create = partial(sa.schema.CreateIndex, if_not_exists=True)
            return [str(create(index).compile(dialect=self.dialect)) for index in indexes(tables, epoch)]

        for create in once(tables.rows, self.dialect, f"indexes {tables.view.indexes} {epoch}", compiled):
            connection.exec_driver_sql(create)

    def drop_tables(self, connection: sa.Connection, tables: ViewTables) -> None:
        """Drop a view's tables if they are there."""
        for table in tables.all:
            drop = statement(table, self.dialect, "drop", partial(sa.schema.DropTable, table, if_exists=True))
            connection.exec_driver_sql(drop)

    def tables(self, view: View) -> ViewTables:
        """The tables of a view."""
        known = self._tables.get(view.name)
        if known is None or known.view is not view:
            known = self._tables[view.name] = view_tables(view)
        return known

    def table(self, view: View) -> sa.Table:
        """The rows of a view: ``view.columns`` in their order, datetimes aware and in UTC, lists and dicts decoded."""
        return self.tables(view).rows

    def counts(self, view: View) -> sa.Table:
        """The counters of a view: ``scope``, ``item``, ``n``; a counter that is 0 has no row."""
        return self.tables(view).counts

    def members(self, view: View) -> sa.Table:
        """The members of a view's sets: ``scope``, ``item`` and the key of a row."""
        found = self.tables(view).members
        if found is None:
            raise Misuse(f"view {view.name} has no sets")
        return found

    def connect(self) -> AbstractContextManager[sa.Connection]:
        """A connection for reading: all statements until its end see the same moment. Raises ``Unavailable``."""
        return self._transaction(self._reading, commit=False)

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that is committed at the end, or rolled back if the block raises. Raises ``Unavailable``."""
        return self._transaction(self._writing, commit=True)

    @contextmanager
    def _transaction(self, engine: sa.Engine, *, commit: bool) -> Iterator[sa.Connection]:
        with self._connection(engine) as connection:
            connection.begin()
            if not commit:
                self._hold_tables(connection)
            yield connection
            if commit:
                connection.commit()

    @contextmanager
    def _connection(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        if self._closed:
            raise Unavailable(f"the database of {self.service} is closed")
        try:
            with engine.connect() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise Unavailable(f"database of {self.service}: {error}") from error
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise Unavailable(f"database of {self.service}: {error}") from error
            raise

    def _hold_tables(self, connection: sa.Connection) -> None:
        """PostgreSQL only: names of tables are looked up in the present, rows in the snapshot, so a reader whose
        first look at a view came after its swap would see the new table as it was while it was being filled."""
        if self._hold is not None:
            connection.exec_driver_sql(self._hold)

    def checkpoints(self) -> Checkpoints:
        """The checkpoints kept beside the views; ``prepare`` (of no views, if need be) creates their table."""
        return Checkpoints(self)

    def digest(self, view: View) -> str:
        """SHA-256 over the sorted rows and counters of a view: the same for the same content."""
        with self.connect() as connection:
            return digest(connection, self.tables(view))

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """PostgreSQL only: whether this name was free. It is ours during the block, or as long as the connection lasts.
        Raises ``Unavailable``."""
        with self._connection(self._engine.execution_options(isolation_level="AUTOCOMMIT")) as connection:
            claimed, is_ours = {"name": f"{name} is claimed"}, False
            try:
                query = sa.text("SELECT pg_try_advisory_lock(hashtext(:name))")
                is_ours = bool(connection.execute(query, claimed).scalar())
                yield is_ours
            finally:
                if is_ours:  # at once: the server may take a moment to notice that a connection is gone
                    with suppress(sa.exc.SQLAlchemyError):
                        connection.execute(sa.text("SELECT pg_advisory_unlock(hashtext(:name))"), claimed)
                connection.invalidate()  # the server lets go of it, whatever state the connection is in

    def scrub(self) -> bool:
        """Leave nothing of what was overwritten in SQLite's log; whether that succeeded: not while somebody reads.
        PostgreSQL's log is for whoever runs the server."""
        if not self.is_sqlite:
            return True
        with closing(self._engine.raw_connection()) as connection:
            cursor = connection.cursor()
            busy, _, _ = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            cursor.close()
        return not busy

    def close(self) -> None:
        """Let go of all connections that are not in use; what is asked later is ``Unavailable``."""
        self._closed = True
        self._engine.dispose()


def _sqlite_engine(url: str, service: str, lock_wait_s: float, pool_size: int) -> sa.Engine:
    folder = url.removeprefix("sqlite:///")
    if folder == url or not folder:
        raise Misuse(f"{url!r} does not name a folder: sqlite:///folder")
    Path(folder).mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(Path(folder) / f"{service}.db")),
        connect_args={"timeout": lock_wait_s, "isolation_level": None},
        pool_size=pool_size,
        max_overflow=0,
        pool_use_lifo=True,  # the connection used last has its cache filled and its statements prepared
        pool_timeout=POOL_WAIT_S,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            f"cache_size = -{CACHE_KIB}",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            "secure_delete = FAST",  # what somebody had forgotten is not left in free pages
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A reader's snapshot needs a transaction; a writer that took its lock late could not be retried in place.
        writing = connection.get_execution_options().get("writing")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _postgres_engine(url: str, service: str, lock_wait_s: float, pool_size: int) -> sa.Engine:
    check_url(url, "read models")
    options = f'-c search_path="{service}" -c lock_timeout={round(lock_wait_s * 1000)}ms'
    return sa.create_engine(
        url,
        paramstyle="format",
        connect_args={
            "options": options,
            "connect_timeout": CONNECT_WAIT_S,
            "tcp_user_timeout": SILENCE_S * 1000,
            "keepalives_idle": SILENCE_S,  # while it computes, we send nothing else that it could acknowledge
            "keepalives_interval": SILENCE_S // 3,
            "keepalives_count": 3,
        },
        pool_size=pool_size,
        max_overflow=0,
        pool_use_lifo=True,  # the connection used last has its cache filled and its statements prepared
        pool_timeout=POOL_WAIT_S,
        hide_parameters=True,
        pool_pre_ping=True,
    )
