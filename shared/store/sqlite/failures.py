"""What SQLite's errors mean to a caller of the store."""

from __future__ import annotations

import sqlite3

from shared.errors import FlotillaError, Misuse, Unavailable, Unknown

_PRIMARY = 0xFF
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_OF_THE_MACHINE = frozenset(
    {
        *_BUSY,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)


def _code(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _PRIMARY


def explained(error: sqlite3.Error, doing: str) -> FlotillaError:
    """The error for a call of which nothing has happened."""
    if _code(error) in _OF_THE_MACHINE:
        return Unavailable(f"{doing}: {error}")
    return Misuse(f"{doing}: {error}")


def explained_commit(error: sqlite3.Error) -> FlotillaError:
    """The error for a COMMIT that failed: only "busy" says for certain that nothing was written."""
    if _code(error) in _BUSY:
        return Unavailable(f"commit: {error}")
    return Unknown(f"commit: {error}")
