"""The adapter: checks what it is given, and puts writer, reading and watch together."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from shared.clock import Clock, system_clock
from shared.errors import FlotillaError, Misuse, Unavailable
from shared.store.carrying import Forgotten
from shared.store.checks import append_bytes, check_stream
from shared.store.port import Append, Appended, AppendTooLarge, Expected, New, Only, Page, Position, Recorded
from shared.store.sqlite import forget, restore, schema
from shared.store.sqlite.batch import Batch
from shared.store.sqlite.failures import explained
from shared.store.sqlite.pool import Pool
from shared.store.sqlite.reading import Reading
from shared.store.sqlite.turns import Turns
from shared.store.sqlite.watch import Watch
from shared.store.sqlite.writer import MAX_GROUP_BYTES, MAX_GROUP_WEIGHT, Writer
from shared.store.subscription import PagedSubscription

PATIENCE_S = 5.0
"""How long a write waits for other processes before it is ``Unavailable``."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EVERYTHING = Only()
_NEVER = threading.Event()
_forks = 0
"""How many forks lie between this process and the one that loaded this module: a number costs less than a getpid."""


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


@dataclass(slots=True)
class _Group:
    """Appends that go into one transaction."""

    appends: list[Append] = field(default_factory=list)
    size_bytes: int = 0

    def is_full(self, more_bytes: int) -> bool:
        return len(self.appends) == MAX_GROUP_WEIGHT or self.size_bytes + more_bytes > MAX_GROUP_BYTES


class SqliteEventStore:
    """See ``shared.store.port.EventStore``. ``durable``: acknowledged events survive a power failure, too; without it
    they survive the death of the process. ``alone``: no other thread of this process is busy (a tool that replays);
    pages are then read row by row, in half the time. Must not be used in a forked child: ``Misuse``."""

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock = system_clock,
        durable: bool = True,
        patience_s: float = PATIENCE_S,
        alone: bool = False,
    ) -> None:
        self.path = Path(path).absolute()
        self._clock = clock
        self._forks = _forks
        self._closed = threading.Event()
        connect = partial(schema.connect, self.path, durable=durable, patience_s=patience_s)
        schema.prepare(self.path)
        self._turns = Turns(self.path, patience_s)
        self._create(connect)
        self._pool = Pool(connect)
        self._reading = Reading(self._pool, alone=alone)
        self._watch = Watch(self._reading.head)
        self._writer = Writer(connect, self._turns, self._now_us, self._watch.advance)

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        """See the port."""
        self._check()
        size_bytes = append_bytes(stream, expected, events)
        outcome: Appended | Exception = self._writer.run(
            lambda batch: batch.append(stream, expected, events), size_bytes=size_bytes
        )
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def append_many(self, appends: Sequence[Append]) -> list[Appended | Exception]:
        """See the port; some hundred appends share a transaction."""
        self._check()
        outcomes: list[Appended | Exception] = []
        group = _Group()
        for append in appends:
            try:
                size_bytes = append_bytes(append.stream, append.expected, append.events)
            except (Misuse, AppendTooLarge) as refusal:
                outcomes += self._append_group(group)
                outcomes.append(refusal)
                group = _Group()
                continue
            if group.is_full(size_bytes):
                outcomes += self._append_group(group)
                group = _Group()
            group.appends.append(append)
            group.size_bytes += size_bytes
        outcomes += self._append_group(group)
        return outcomes

    def read(self, stream: str, first: int = 0, limit: int | None = None, *, backwards: bool = False) -> list[Recorded]:
        """See the port."""
        self._check()
        return self._reading.stream(stream, first, limit, backwards)

    def read_all(self, after: Position | None = None, limit: int = 1_000, only: Only = _EVERYTHING) -> Page:
        """See the port. A filtered page looks at no more than ``reading.MAX_SCAN`` positions, where they are far apart
        at ``MAX_SPARSE_SCAN`` events."""
        self._check()
        return self._reading.page(after or 0, limit, only)

    def at(self, position: Position) -> Recorded:
        """See the port."""
        self._check()
        return self._reading.at(position)

    def head(self) -> Position | None:
        """See the port; it does not fall when events are forgotten."""
        self._check()
        head = self._reading.head()
        return Position(head) if head else None

    def subscribe(self, after: Position | None = None, only: Only = _EVERYTHING) -> PagedSubscription:
        """See the port."""
        self._check()
        return PagedSubscription(self, after, only)

    def wait(self, after: Position | None, timeout_s: float) -> bool:
        """See the port."""
        return self.follow(after, timeout_s, _NEVER)

    def follow(self, after: Position | None, timeout_s: float, stopped: threading.Event) -> bool:
        """``wait`` that also ends when ``stopped`` is set and then ``wake`` called."""
        self._check()
        return self._watch.wait(after or 0, timeout_s, stopped.is_set)

    def wake(self) -> None:
        """Let every ``follow`` look whether it is stopped."""
        self._watch.wake()

    def truncate(self, stream: str, before: int) -> None:
        """See the port. A stream that does not exist is left alone."""
        self._check()
        check_stream(stream)
        self._forget(stream, lambda batch: forget.truncate(batch, stream, before))

    def delete(self, stream: str, *, forever: bool = False) -> None:
        """See the port; the stream's name and its positions stay known."""
        self._check()
        check_stream(stream)
        self._forget(stream, lambda batch: forget.delete(batch, stream, forever))

    @property
    def keeps_positions(self) -> bool:
        """See ``Carrying``: it does."""
        return True

    def forgotten(self) -> Iterator[Forgotten]:
        """See ``Carrying``."""
        self._check()
        return restore.forgotten(self._pool)

    def begin(self, streams: Sequence[Forgotten]) -> None:
        """See ``Carrying``."""
        self._check()
        for start in range(0, len(streams), restore.MAX_STREAMS):
            some = streams[start : start + restore.MAX_STREAMS]
            for name in self._restored(partial(restore.begin, streams=some), len(some), 0) or ():
                self._forget(name, lambda batch, name=name: forget.sweep(batch, name))  # type: ignore[misc]

    def restore(self, events: Sequence[Recorded]) -> None:
        """See ``Carrying``; one transaction, so it is all of them or none."""
        self._check()
        self._restored(partial(restore.restore, events=events), len(events), restore.check(events))

    @property
    def is_closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed.is_set()

    def close(self) -> None:
        """See the port; safe to call twice."""
        self._check_process()
        if self._closed.is_set():
            return
        self._closed.set()
        self._writer.close()
        self._watch.close()
        self._pool.close()

    def _create(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._turns.take()
        try:
            db = connect()
            try:
                schema.create(db, self.path)
            finally:
                db.close()
        except sqlite3.Error as error:
            raise explained(error, f"open {self.path}") from error
        finally:
            self._turns.give()

    def _append_group(self, group: _Group) -> Sequence[Appended | Exception]:
        if not group.appends:
            return []
        try:
            outcomes: list[Appended | Exception] = self._writer.run(
                lambda batch: batch.append_many(group.appends),
                weight=len(group.appends),
                size_bytes=group.size_bytes,
            )
        except FlotillaError as failure:
            return [failure] * len(group.appends)
        return outcomes

    def _restored(self, work: Callable[[Batch], Any], weight: int, size_bytes: int) -> Any:
        outcome = self._writer.run(work, weight=weight, size_bytes=size_bytes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _forget(self, stream: str, first_step: Callable[[Batch], bool | Exception]) -> None:
        more: bool | Exception = self._writer.run(first_step)
        while more:
            if isinstance(more, Exception):
                raise more
            more = self._writer.run(lambda batch: forget.sweep(batch, stream))

    def _check(self) -> None:
        self._check_process()
        if self._closed.is_set():
            raise Unavailable("the store is closed")

    def _check_process(self) -> None:
        if self._forks != _forks:
            raise Misuse("an event store must be opened after the fork: this one belongs to the parent process")

    def _now_us(self) -> int:
        return (self._clock() - _EPOCH) // _MICROSECOND
