"""Group commit: whoever finds nobody writing writes for all who wait, and hands on to one of those who came since.

A caller that is alone commits its own work in its own thread. With many callers one fsync serves up to
``MAX_GROUP_WEIGHT`` appends.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from copy import copy
from typing import Any

from shared.errors import FlotillaError, Unavailable, Unknown
from shared.store.sqlite.batch import Batch, Known
from shared.store.sqlite.failures import explained, explained_commit
from shared.store.sqlite.turns import Turns

MAX_GROUP_WEIGHT = 256
"""Most appends in one transaction (one piece of work may weigh more by itself)."""
MAX_GROUP_BYTES = 16 * 1_048_576
MAX_QUEUED = 4_096
"""Most pieces of work that wait; more are ``Unavailable`` at once."""
QUEUE_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 10.0

Work = Callable[[Batch], Any]
"""Runs inside the transaction. Raises only if the whole transaction must not happen."""


class _Job:
    outcome: Any = None
    failure: Exception | None = None
    leads = False
    answered: threading.Lock | None = None

    def __init__(self, work: Work, weight: int, size_bytes: int) -> None:
        self.work = work
        self.weight = weight
        self.size_bytes = size_bytes


class Writer:
    """The only one in this process that writes to the file."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        turns: Turns,
        now_us: Callable[[], int],
        committed: Callable[[int], None],
    ) -> None:
        self._connect = connect
        self._turns = turns
        self._now_us = now_us
        self._committed = committed
        self._db: sqlite3.Connection | None = None
        self._known: Known | None = None
        self._state = threading.Lock()
        self._idle = threading.Condition(self._state)
        self._queue: deque[_Job] = deque()
        self._is_writing = False
        self._closed = False

    def run(self, work: Work, *, weight: int = 1, size_bytes: int = 0) -> Any:
        """What ``work`` returned, once its transaction is committed. Raises ``Unavailable`` or ``Unknown``."""
        job = _Job(work, weight, size_bytes)
        if not self._lead_or_queue(job):
            try:
                self._await(job)
            except BaseException:
                self._abandon(job)
                raise
        if job.leads:
            self._lead(job)
        if job.failure is not None:
            raise job.failure
        return job.outcome

    def close(self) -> None:
        """Fail what waits, let the running transaction end (bounded), and let go of the files; safe to call twice."""
        with self._state:
            if self._closed:
                return
            self._closed = True
            while self._queue:
                _answer(self._queue.popleft(), Unavailable("the store is closed"))
            deadline = time.monotonic() + CLOSE_TIMEOUT_S
            while self._is_writing and (remaining_s := deadline - time.monotonic()) > 0:
                self._idle.wait(remaining_s)
            if not self._is_writing:
                self._disconnect()
                self._turns.close()

    def _lead_or_queue(self, job: _Job) -> bool:
        with self._state:
            if self._closed:
                raise Unavailable("the store is closed")
            if not self._is_writing:
                self._is_writing = job.leads = True
                return True
            if len(self._queue) >= MAX_QUEUED:
                raise Unavailable(f"{MAX_QUEUED} appends are waiting already")
            job.answered = threading.Lock()
            job.answered.acquire()
            self._queue.append(job)
            return False

    def _await(self, job: _Job) -> None:
        if job.answered is None or job.answered.acquire(timeout=QUEUE_TIMEOUT_S):
            return
        with self._state:
            if job in self._queue:
                self._queue.remove(job)
                raise Unavailable(f"waited {QUEUE_TIMEOUT_S:g} s for other writers")
            if not job.leads and not job.answered.acquire(blocking=False):
                raise Unknown(f"the transaction has not ended in {QUEUE_TIMEOUT_S:g} s")

    def _abandon(self, job: _Job) -> None:
        """Its caller was stopped while it waited: nobody may wait for it in turn."""
        with self._state:
            if job in self._queue:
                self._queue.remove(job)
        if job.leads:
            self._hand_on()

    def _lead(self, own: _Job) -> None:
        group = [own]
        try:
            if self._queue:
                self._gather(group)
            self._write(group)
        except FlotillaError as failure:
            own.failure = failure
            for job in group[1:]:
                job.failure = copy(failure)  # each is raised in a thread of its own
        except BaseException as failure:
            for job in group[1:]:
                job.failure = Unknown(f"the writing thread was stopped: {failure!r}")
            raise
        finally:
            for job in group[1:]:
                _answer(job)
            self._hand_on()

    def _gather(self, group: list[_Job]) -> None:
        weight, size_bytes = group[0].weight, group[0].size_bytes
        with self._state:
            while self._queue:
                weight += self._queue[0].weight
                size_bytes += self._queue[0].size_bytes
                if weight > MAX_GROUP_WEIGHT or size_bytes > MAX_GROUP_BYTES:
                    return
                group.append(self._queue.popleft())

    def _hand_on(self) -> None:
        with self._state:
            if self._queue:
                following = self._queue.popleft()
                following.leads = True
                _answer(following)
            else:
                self._is_writing = False
                if self._closed:
                    self._idle.notify_all()

    def _write(self, group: list[_Job]) -> None:
        if not self._turns.take():
            self._known = None
        try:
            db = self._connected()
            try:
                head = self._transact(db, group)
            except BaseException:
                self._known = None
                self._roll_back(db)
                raise
        finally:
            self._turns.give()
        if head is not None:
            self._committed(head)

    def _transact(self, db: sqlite3.Connection, group: list[_Job]) -> int | None:
        """The head if anything was committed."""
        try:
            try:
                batch = self._fill(db, group)
            except sqlite3.IntegrityError:
                if self._known is None:
                    raise
                self._known = None  # somebody wrote without taking a turn: look again
                db.execute("ROLLBACK")
                batch = self._fill(db, group)
        except sqlite3.Error as error:
            raise explained(error, "append") from error
        try:
            db.execute("COMMIT" if batch.is_changed else "ROLLBACK")
        except sqlite3.Error as error:
            raise explained_commit(error) from error
        self._known = batch.known
        return batch.known.head if batch.is_changed else None

    def _fill(self, db: sqlite3.Connection, group: list[_Job]) -> Batch:
        db.execute("BEGIN IMMEDIATE")
        batch = Batch(db, self._known or Known.read(db), self._now_us())
        for job in group:
            job.outcome = job.work(batch)
        batch.flush()
        return batch

    def _connected(self) -> sqlite3.Connection:
        if self._db is None:
            try:
                self._db = self._connect()
            except sqlite3.Error as error:
                raise explained(error, "open") from error
        return self._db

    def _roll_back(self, db: sqlite3.Connection) -> None:
        """Nothing of it must stay. A connection that cannot even roll back is closed, which does the same."""
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
        except sqlite3.Error:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _answer(job: _Job, failure: Exception | None = None) -> None:
    job.failure = failure or job.failure
    if job.answered is not None:
        job.answered.release()
