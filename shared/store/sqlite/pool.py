"""Connections for reading, one for each call that runs."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from shared.errors import Unavailable
from shared.store.sqlite.failures import explained

MAX_IDLE = 16
CLOSE_TIMEOUT_S = 5.0


class Pool:
    """Runs queries; safe from any thread. A connection on which a query failed is not used again.

    Taking and giving back is one list operation each, which the interpreter makes atomic: no lock on that way.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._idle: list[sqlite3.Connection] = []
        self._open: set[sqlite3.Connection] = set()
        self._changed = threading.Condition()
        self._closed = False

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of one query. Raises ``Unavailable``."""
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._another()
        try:
            rows = db.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._drop(db)
            raise Unavailable("the store is closed") if self._closed else explained(error, "read") from error
        except BaseException:
            self._drop(db)
            raise
        if self._closed or len(self._idle) >= MAX_IDLE:
            self._drop(db)
        else:
            self._idle.append(db)
            if self._closed:  # since the line above
                self._drop_idle()
        return rows

    def close(self) -> None:
        """Interrupt what runs, wait for it (bounded), and close every connection."""
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        with self._changed:
            self._closed = True
        self._drop_idle()
        with self._changed:
            while self._open and (remaining_s := deadline - time.monotonic()) > 0:
                for db in self._open:
                    db.interrupt()
                self._changed.wait(min(remaining_s, 0.05))

    def _another(self) -> sqlite3.Connection:
        with self._changed:
            if self._closed:
                raise Unavailable("the store is closed")
            try:
                db = self._connect()
            except sqlite3.Error as error:
                raise explained(error, "open") from error
            self._open.add(db)
            return db

    def _drop_idle(self) -> None:
        while self._idle:
            try:
                db = self._idle.pop()
            except IndexError:  # another thread was faster
                return
            self._drop(db)

    def _drop(self, db: sqlite3.Connection) -> None:
        with self._changed:
            self._open.discard(db)
            db.close()
            self._changed.notify_all()
