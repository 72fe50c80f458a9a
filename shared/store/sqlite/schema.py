"""Tables of the store, and connections to them.

``streams.version`` is the last version ever given out, ``first`` the lowest that is left: a stream without events,
deleted or not, has ``first = version + 1``. Event types and stream names are interned, and never removed.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from shared.errors import Refused

APPLICATION_ID = 0x464C_4F54
"""Marks the file as ours: "FLOT"."""
SCHEMA_VERSION = 1
ALIVE, TOMBSTONED = 0, 1

TABLES = """
CREATE TABLE streams(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL,
                     first INTEGER NOT NULL, state INTEGER NOT NULL);
CREATE TABLE types(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE events(pos INTEGER PRIMARY KEY AUTOINCREMENT, stream_id INTEGER NOT NULL, version INTEGER NOT NULL,
                    type_id INTEGER NOT NULL, event_id BLOB NOT NULL, at INTEGER NOT NULL,
                    data BLOB NOT NULL, meta BLOB NOT NULL, UNIQUE(stream_id, version));
"""
HEAD = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
"""The last position ever given out: it does not fall when events are forgotten."""

CHECKPOINT_PAGES = 4_000


def connect(path: Path, *, durable: bool, patience_s: float) -> sqlite3.Connection:
    """A connection in autocommit mode that any thread may use, one at a time."""
    db = sqlite3.connect(path, timeout=patience_s, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    return db


def prepare(path: Path) -> None:
    """Make the file, readable by its owner alone; SQLite gives its side files the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def create(db: sqlite3.Connection, path: Path) -> None:
    """Make the tables unless they are there. Raises ``Refused`` for a file of another program or a newer release."""
    db.execute("BEGIN IMMEDIATE")
    try:
        application, version = (
            db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
        )
        if (application, version) == (APPLICATION_ID, SCHEMA_VERSION):
            return
        if application or version or db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            raise Refused("bad_store", f"{path} is no event store that this release can read")
        for statement in TABLES.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
