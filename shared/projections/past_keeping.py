"""Which past copies stay: drops those that nobody needs, and keeps the databases of the others open for readers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from datetime import datetime

from shared.errors import Unavailable
from shared.projections.database import Database
from shared.projections.past_copies import PastCopies, left_behind, too_many
from shared.projections.past_moments import Copy
from shared.projections.past_places import Places

log = logging.getLogger(__name__)


class Keeping:
    """Of the copies of one service's views; safe from any thread, and beside other processes that do the same."""

    def __init__(self, database: Database, copies: PastCopies, places: Places) -> None:
        self._database = database
        self._copies = copies
        self._places = places
        self._opened: dict[int, Database] = {}
        self._opening = threading.Lock()

    def open(self, copy: Copy) -> Database:
        """The database of a ready copy, for reading; it stays open as long as the copy is kept."""
        with self._opening:
            if copy.number not in self._opened:
                self._opened[copy.number] = self._places.open(copy.number)
            return self._opened[copy.number]

    def close(self) -> None:
        """Let go of all of them."""
        self._close_all_but(())

    def clear_up(self, now: datetime) -> None:
        """Drop copies beyond those that are kept, and what failed or was left behind. Raises ``Unavailable``."""
        present = self._copies.all()
        self.drop(copy.number for copy in left_behind(present, now))
        for copy in too_many(present, self._copies.keep, now):
            self._drop(copy.number, copy)
        if self._opened:
            self._close_all_but(self._copies.numbers())

    def clear_up_after_others(self) -> None:
        """Drop copies of other versions of the views, and places that no copy has: a process died in the middle of a
        drop. Raises ``Unavailable``."""
        self.drop(self._copies.outdated())
        with self._database.connect() as connection:
            places = self._places.numbers(connection)  # before the rows, because of these two the row is made first
        for number in places - self._copies.numbers():
            with self._database.writing() as connection:
                self._places.drop(connection, number)

    def drop(self, numbers: Iterable[int]) -> None:
        """Drop these copies, except those that are being read on PostgreSQL."""
        for number in numbers:
            self._drop(number, None)

    def _drop(self, number: int, idle: Copy | None) -> None:
        try:
            with self._database.writing() as connection:
                is_gone = self._copies.forget(connection, number, idle)
                if is_gone and not self._database.is_sqlite:
                    self._places.drop(connection, number)
            if is_gone and self._database.is_sqlite:  # a file without a row is a stray, a row without a file a lie
                with self._database.connect() as connection:
                    self._places.drop(connection, number)
        except Unavailable as error:
            log.info("copy %s of %s stays for now: %s", number, self._copies.views, error)

    def _close_all_but(self, numbers: Iterable[int]) -> None:
        with self._opening:
            for number in set(self._opened).difference(numbers):
                self._opened.pop(number).close()
