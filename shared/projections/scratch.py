"""A database beside a service's own, for tables that only one tool needs for a while.

On SQLite a file of its own, so that filling it holds up no writer of the live one and what it needed goes back to the
disk; on PostgreSQL a schema of its own. One at a time: what is found without its owner was left by a crash and removed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from shared.errors import Refused
from shared.projections.database import Database

SUFFIX = "-scratch"
_FILES = ("", "-wal", "-shm", "-journal")


@contextmanager
def scratch(database: Database) -> Iterator[Database]:
    """An empty database; it is gone afterwards. Raises ``Refused("scratch_in_use")``: another process verifies or
    refolds views of this service (SQLite: of this folder), and ``Unavailable``."""
    service = database.service + SUFFIX
    with _claimed_folder(database) if database.is_sqlite else _claimed_schema(database, service):
        made = Database(database.url, service)
        try:
            yield made
        finally:
            made.close()


@contextmanager
def _claimed_folder(database: Database) -> Iterator[None]:
    folder = Path(database.url.removeprefix("sqlite:///"))
    claim = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _in_use(database) from None
        _remove_files(folder, database.service)
        try:
            yield
        finally:
            _remove_files(folder, database.service)
    finally:
        os.close(claim)


def _remove_files(folder: Path, service: str) -> None:
    for suffix in _FILES:
        (folder / f"{service}{SUFFIX}.db{suffix}").unlink(missing_ok=True)


@contextmanager
def _claimed_schema(database: Database, schema: str) -> Iterator[None]:
    with database.claim(schema) as is_ours:
        if not is_ours:
            raise _in_use(database)
        _drop_schema(database, schema)
        try:
            yield
        finally:
            _drop_schema(database, schema)


def _drop_schema(database: Database, schema: str) -> None:
    with database.writing() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True, if_exists=True))


def _in_use(database: Database) -> Refused:
    reason = f"another process verifies or refolds views of {database.service}; try again when it is done"
    return Refused("scratch_in_use", reason)
