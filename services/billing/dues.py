"""Which subscription or draft is to be looked at when: a table of the service's database, which follows the streams.

A row says when its stream was found to be due next; it is made from the stream as it is, so it is never wrong, only
late. The table can be thrown away: it is filled again from the events.
"""

from __future__ import annotations

from datetime import datetime
from time import monotonic
from typing import Any

import sqlalchemy as sa

from services.billing import drafts
from services.billing.subscriptions import Policy, due_at, stream_of, subscriptions
from shared.errors import Unavailable
from shared.projections.database import Database
from shared.projections.tables import Micros
from shared.store.port import Only, Position
from shared.streams import Streams

CHECKPOINT = "billing-due-1"
"""Another number where what is due is counted otherwise: then all are looked at again."""
PAGE = 1_000
QUIET_S = 5.0
"""How often it is written down how far others' events were passed over."""
MOST = 100_000
"""Rows that are taken at once."""
PREFIX, DRAFT_PREFIX = stream_of(""), drafts.stream_of("")

_metadata = sa.MetaData()
_dues = sa.Table(
    "billing_due",
    _metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("due_at", Micros, nullable=False),
    sa.Index("billing_due_by_time", "due_at", "stream"),
)


class Dues:
    """For one worker at a time."""

    def __init__(self, database: Database, streams: Streams, policy: Policy, types: frozenset[str]) -> None:
        self._database = database
        self._streams = streams
        self._aggregate = subscriptions(policy)
        self._only = Only(types=types)
        self._checkpoints = database.checkpoints()
        self._saved: Position | None = None
        self._looked: Position | None = None
        self._save_s = 0.0

    def prepare(self) -> None:
        """Make the table, if it is missing; the database must have been prepared before."""
        with self._database.writing() as connection:
            _metadata.create_all(connection)

    def begin(self) -> None:
        """Go on where the table is: others may have followed since."""
        self._saved = self._looked = self._checkpoints.load(CHECKPOINT)

    def follow(self) -> set[str]:
        """Take in what happened since the last time: the streams with new events. Raises ``Unavailable``."""
        changed: set[str] = set()
        while True:
            page = self._streams.store.read_all(self._looked, PAGE, self._only)
            streams = {event.stream for event in page.events}
            changed |= streams
            for stream in sorted(streams):
                if stream.startswith((PREFIX, DRAFT_PREFIX)):
                    self.put(stream, self._due_at(stream))
            self._looked = page.looked
            self._save(at_once=bool(streams))
            if page.end:
                return changed

    def _due_at(self, stream: str) -> datetime | None:
        if stream.startswith(DRAFT_PREFIX):
            return drafts.due_at(self._streams.load(drafts.DRAFTS, stream).state)
        return due_at(self._streams.load(self._aggregate, stream).state)

    def _save(self, *, at_once: bool) -> None:
        """Over events of others, which come all the time, only now and then."""
        if self._looked in (None, self._saved) or not (at_once or monotonic() >= self._save_s):
            return
        assert self._looked is not None
        if not self._checkpoints.advance(CHECKPOINT, self._saved, self._looked):
            raise Unavailable("somebody else follows the subscriptions")
        self._saved, self._save_s = self._looked, monotonic() + QUIET_S

    def put(self, stream: str, at: datetime | None) -> None:
        """This one is due then; None: not by itself."""
        with self._database.writing() as connection:
            if at is None:
                connection.execute(sa.delete(_dues).where(_dues.c.stream == stream))
                return
            row: dict[str, Any] = {"stream": stream, "due_at": at}
            insert = self._database.insert(_dues).values(row)
            connection.execute(insert.on_conflict_do_update(index_elements=["stream"], set_={"due_at": at}))

    def until(self, now: datetime) -> list[tuple[datetime, str]]:
        """All that are due by now, the earliest first; ``MOST`` at most."""
        query = sa.select(_dues.c.due_at, _dues.c.stream).where(_dues.c.due_at <= now)
        query = query.order_by(_dues.c.due_at, _dues.c.stream).limit(MOST)
        with self._database.connect() as connection:
            return [(row.due_at, row.stream) for row in connection.execute(query)]

    def next(self) -> datetime | None:
        """When the next one is."""
        with self._database.connect() as connection:
            return connection.execute(sa.select(sa.func.min(_dues.c.due_at))).scalar()
