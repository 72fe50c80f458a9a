"""The adapter itself: see ``shared.store.port.EventStore``."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

from shared.errors import Misuse
from shared.store.carrying import Forgotten
from shared.store.esdb import forget
from shared.store.esdb.address import checked
from shared.store.esdb.connection import Connection
from shared.store.esdb.doorbell import Doorbell
from shared.store.esdb.reading import PAGE_S, SCAN_S, Reading, everything
from shared.store.esdb.restore import Restoring
from shared.store.esdb.writing import Outcome, Writing, check_stream
from shared.store.port import Append, Appended, Expected, New, Only, Page, Position, Recorded
from shared.store.subscription import PagedSubscription

_EVERYTHING = Only()
_NEVER = threading.Event()


class EsdbEventStore:
    """``esdb://`` (one node, or several separated by commas) or ``esdb+discover://`` (by DNS).

    Nothing is connected before the first call. A position is the commit position. Times are the server's. Writes may
    take twice ``DefaultDeadline``, reads ``page_s`` a page. Must not be used in a forked child: ``Misuse``.
    """

    def __init__(self, url: str, *, page_s: float = PAGE_S, scan_s: float = SCAN_S) -> None:
        self._connection = Connection(checked(url))
        self._reading = Reading(self._connection, page_s=page_s, scan_s=scan_s)
        self._writing = Writing(self._connection, self._reading)
        self._restoring = Restoring(self._connection, self._reading, self._writing)
        self._doorbell = Doorbell(self._bell, self._reading.head)

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        """See the port. With ``ANY`` repetitions are noticed as long as the leader keeps their ids in memory."""
        self._connection.check()
        appended = self._writing.append(stream, expected, events)
        self._doorbell.advance(appended.position)
        return appended

    def append_many(self, appends: Sequence[Append]) -> list[Outcome]:
        """See the port; some hundred appends share a call."""
        self._connection.check()
        outcomes = self._writing.append_many(appends)
        self._doorbell.advance(max((each.position for each in outcomes if isinstance(each, Appended)), default=0))
        return outcomes

    def read(self, stream: str, first: int = 0, limit: int | None = None, *, backwards: bool = False) -> list[Recorded]:
        """See the port."""
        self._connection.check()
        return self._reading.stream(stream, first, limit, backwards)

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = _EVERYTHING) -> Page:
        """See the port. A filtered page takes some ``scan_s`` at most, and says how far it has looked."""
        self._connection.check()
        return self._reading.page(after or 0, limit, only)

    def at(self, position: Position) -> Recorded:
        """See the port."""
        self._connection.check()
        return self._reading.at(position)

    def head(self) -> Position | None:
        """See the port."""
        self._connection.check()
        head = self._reading.head()
        return Position(head) if head else None

    def subscribe(self, after: Position | None = None, only: Only = _EVERYTHING) -> PagedSubscription:
        """See the port."""
        self._connection.check()
        return PagedSubscription(self, after, only)

    def wait(self, after: Position | None, timeout_s: float) -> bool:
        """See the port."""
        self._connection.check()
        return self._doorbell.wait(after or 0, timeout_s, _NEVER.is_set, look_first=True)

    def follow(self, after: Position | None, timeout_s: float, stopped: threading.Event) -> bool:
        """``wait`` for who has just read to the end; it also ends when ``stopped`` is set and then ``wake`` called."""
        self._connection.check()
        return self._doorbell.wait(after or 0, timeout_s, stopped.is_set, look_first=False)

    def wake(self) -> None:
        """Let every ``follow`` look whether it is stopped."""
        self._doorbell.wake()

    def truncate(self, stream: str, before: int) -> None:
        """See the port. A stream that does not exist is left alone."""
        self._connection.check()
        check_stream(stream)
        if before < 0:
            raise Misuse(f"cannot truncate {stream} before version {before}")
        forget.truncate(self._connection, stream, before)

    def delete(self, stream: str, *, forever: bool = False) -> None:
        """See the port."""
        self._connection.check()
        check_stream(stream)
        forget.delete(self._connection, stream, forever)

    @property
    def keeps_positions(self) -> bool:
        """See ``Carrying``: the server gives its own."""
        return False

    def forgotten(self) -> Iterator[Forgotten]:
        """See ``Carrying``."""
        self._connection.check()
        return self._restoring.forgotten()

    def begin(self, streams: Sequence[Forgotten]) -> None:
        """See ``Carrying``."""
        self._connection.check()
        self._restoring.begin(streams)

    def restore(self, events: Sequence[Recorded]) -> None:
        """See ``Carrying``; a few hundred appends a call, each all or nothing, so a part of them may be stored."""
        self._connection.check()
        self._restoring.restore(events)

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._connection.is_closed

    def close(self) -> None:
        """See the port; safe to call twice."""
        self._connection.close()
        self._doorbell.close()

    def _bell(self) -> Any:
        return self._connection.client().follow(everything(), None)
