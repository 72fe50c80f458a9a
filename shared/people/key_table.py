"""Where the keys are: a table of its own, apart from the event store, so that backups of one leave out the other.

``people`` has a key for each account, NULL once it was destroyed; ``secrets`` what belongs to the installation.
SQLite: ``sqlite:///folder`` is the file ``<folder>/keys.db`` of mode 0600; a destroyed key is overwritten in it.
PostgreSQL: the schema ``keys``; what VACUUM has not taken away yet, and its log, are for whoever runs the server.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from shared.errors import Refused, Unavailable
from shared.people.keys import DESTROYED, Gone
from shared.people.sealing import KEY_BYTES
from shared.postgres import check_url

WAIT_S = 5
"""For the database's lock, or its answer to a connection."""
POOL_SIZE = 8
SCHEMA = "keys"

_metadata = sa.MetaData()
_people = sa.Table(
    "people",
    _metadata,
    sa.Column("account_id", sa.Text, primary_key=True),
    sa.Column("key", sa.LargeBinary),
    sa.Column("destroyed_at", sa.Text),
)
_secrets = sa.Table(
    "secrets",
    _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
)


class KeyTable:
    """Keys at a URL; made if it is not there. ``is_new``: it held nothing when it was opened. Raises ``Refused`` for a
    URL of another kind, and ``Unavailable``."""

    def __init__(self, url: str) -> None:
        self._is_sqlite = url.startswith("sqlite:")
        self._engine = _sqlite_engine(url) if self._is_sqlite else _postgres_engine(url)
        try:
            self.is_new = self._prepare()
        except BaseException:
            self.close()
            raise

    def find(self, person: str) -> bytes | Gone | None:
        """As ``KeptKeys``."""
        with self._transaction() as connection:
            return self._found(connection, person)

    def create(self, person: str) -> bytes | Gone:
        """As ``KeptKeys``."""
        row = {"account_id": person, "key": os.urandom(KEY_BYTES)}
        with self._transaction(writing=True) as connection:
            connection.execute(self._insert(_people).values(row).on_conflict_do_nothing())
            found = self._found(connection, person)
        if found is None:
            raise Unavailable(f"the key table lost the key of account {person}")
        return found

    def destroy(self, person: str) -> None:
        """As ``KeptKeys``."""
        gone = {"key": None, "destroyed_at": datetime.now(UTC).isoformat(timespec="seconds")}
        insert = self._insert(_people).values({"account_id": person, **gone})
        only_once = insert.on_conflict_do_update(
            index_elements=["account_id"], set_=gone, where=_people.c.destroyed_at.is_(None)
        )
        with self._transaction(writing=True) as connection:
            connection.execute(only_once)

    def secret(self, name: str) -> bytes:
        """As ``KeptKeys``."""
        query = sa.select(_secrets.c.value).where(_secrets.c.name == name)
        with self._transaction() as connection:
            found: bytes | None = connection.execute(query).scalar()
        if found is not None:
            return bytes(found)
        row = {"name": name, "value": os.urandom(KEY_BYTES)}
        with self._transaction(writing=True) as connection:
            connection.execute(self._insert(_secrets).values(row).on_conflict_do_nothing())
            return bytes(connection.execute(query).scalar_one())

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()

    def _found(self, connection: sa.Connection, person: str) -> bytes | Gone | None:
        row = connection.execute(sa.select(_people.c.key).where(_people.c.account_id == person)).first()
        if row is None:
            return None
        return DESTROYED if row[0] is None else bytes(row[0])

    def _prepare(self) -> bool:
        with self._transaction(writing=True) as connection:
            if not self._is_sqlite:
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('flotilla keys'))"))
                connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
            _metadata.create_all(connection)
            empty = [connection.execute(sa.select(table).limit(1)).first() is None for table in (_people, _secrets)]
            return all(empty)

    def _insert(self, table: sa.Table) -> Any:
        return sqlite.insert(table) if self._is_sqlite else postgresql.insert(table)

    @contextmanager
    def _transaction(self, *, writing: bool = False) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                if self._is_sqlite:
                    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
                yield connection
                connection.commit()
        except sa.exc.TimeoutError as error:
            raise Unavailable(f"the key table: {error}") from error
        except sa.exc.DBAPIError as error:
            damaged = type(error) is sa.exc.DatabaseError  # SQLite: it is no database, or damaged
            if damaged or error.connection_invalidated or isinstance(error, sa.exc.OperationalError):
                raise Unavailable(f"the key table: {error.orig}") from error
            raise


def _sqlite_engine(url: str) -> sa.Engine:
    folder = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or folder == Path():
        raise Refused("bad_setting", f"{url!r} is no key table: it must be sqlite:///folder or postgresql+psycopg://…")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "keys.db"
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)),
        connect_args={"timeout": WAIT_S, "isolation_level": None},
        pool_size=POOL_SIZE,
        pool_timeout=WAIT_S,
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # A key must not be lost after something was sealed with it, nor be left in a log after it was destroyed.
        for pragma in ("journal_mode = DELETE", "synchronous = EXTRA", "secure_delete = ON"):
            connection.execute(f"PRAGMA {pragma}").close()

    return engine


def _postgres_engine(url: str) -> sa.Engine:
    check_url(url, "keys")
    options = f"-c search_path={SCHEMA} -c lock_timeout={WAIT_S * 1000}ms"
    return sa.create_engine(
        url,
        connect_args={"options": options, "connect_timeout": WAIT_S, "tcp_user_timeout": 3 * WAIT_S * 1000},
        pool_size=POOL_SIZE,
        pool_timeout=WAIT_S,
        pool_pre_ping=True,
        hide_parameters=True,
    )
