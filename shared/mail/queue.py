"""Which events are still to be told of by mail: a table of the service's database, without anything personal.

=============  =============================================================
``state``
=============  =============================================================
``waiting``    to be sent at ``next_at``; ``lease_until``: somebody is at it
``sent``       done
``addressed``  several are told; there is an entry for each of them instead
``over``       there was nothing to tell any more
``forgotten``  there was nobody to tell any more (EVT-5)
``late``       heard of so long after it happened that nobody is told
``parked``     will not be taken
=============  =============================================================

An entry is called by its event, and where several are told of one by ``<event>-<person>``, so that each of them is
told once whatever becomes of the others.

Whatever is not waiting is removed after ``KEPT``. It is told of no second time even then: what is heard of again is
``late``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from shared.clock import Clock
from shared.mail.bouncing import Fate
from shared.projections.database import Database
from shared.projections.tables import Micros
from shared.store.port import Recorded

Outcome = Literal["sent", "addressed", "over", "forgotten", "parked"]
"""What becomes of one that was waiting."""

LEASE = timedelta(minutes=5)
"""Longer than the slowest server may take over a message; after it another replica takes over."""
FIRST_PAUSE = timedelta(seconds=10)
LONGEST_PAUSE = timedelta(minutes=15)
SPREAD = 0.2
"""A pause is longer or shorter by this part of it at most, so that what failed together is not tried together."""
MOST_TRIES = 300
"""Three days."""
LATE = timedelta(days=14)
"""Nobody is told of what happened longer ago, unless somebody asks for it."""
KEPT = timedelta(days=60)
MAX_ERROR = 500
MAX_LISTED = 1_000
_EVENT_CHARS = 36

_metadata = sa.MetaData()
mails = sa.Table(
    "mails",
    _metadata,
    sa.Column("event_id", sa.Text, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("next_at", Micros, nullable=False),
    sa.Column("lease_until", Micros),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("queued_at", Micros, nullable=False),
    sa.Index("mails_due", "state", "next_at"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One event that is to be, or was, told of; ``event_id``: what the entry is called by."""

    event_id: str
    type: str
    stream: str
    version: int
    state: str
    tries: int
    next_at: datetime
    lease_until: datetime | None
    error: str
    queued_at: datetime

    @property
    def person(self) -> str | None:
        """Who is told, where several are; None: whoever the event is about."""
        return self.event_id[_EVENT_CHARS + 1 :] or None


class MailQueue:
    """Safe from any thread, and from several processes. ``bulk``: types of events that go behind all others, so that a
    list of thousands holds up nobody's link. ``chance`` draws from 0 to 1."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        bulk: Collection[str] = (),
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._database = database
        self._clock = clock
        self._bulk = tuple(bulk)
        self._chance = chance

    def prepare(self) -> None:
        """Make the table, if it is missing; the database must have been prepared before."""
        with self._database.writing() as connection:
            _metadata.create_all(connection)

    def add(self, recorded: Recorded) -> None:
        """Queue an event; a second time changes nothing."""
        now = self._clock()
        row = {
            "event_id": str(recorded.id),
            "type": recorded.type,
            "stream": recorded.stream,
            "version": recorded.version,
            "state": "waiting" if now - recorded.at < LATE else "late",
            "tries": 0,
            "next_at": now,
            "lease_until": None,
            "error": "",
            "queued_at": now,
        }
        with self._database.writing() as connection:
            connection.execute(self._database.insert(mails).values(row).on_conflict_do_nothing())

    def address(self, entry: Entry, persons: Collection[str]) -> None:
        """Several are told of this event: an entry for each. A second time adds none."""
        now = self._clock()
        row = {"type": entry.type, "stream": entry.stream, "version": entry.version, "state": "waiting", "tries": 0}
        row |= {"next_at": now, "lease_until": None, "error": "", "queued_at": now}
        rows = [{**row, "event_id": f"{entry.event_id}-{person}"} for person in persons]
        with self._database.writing() as connection:
            if rows:
                connection.execute(self._database.insert(mails).on_conflict_do_nothing(), rows)
            self._end_in(connection, entry, state="addressed", error="", next_at=now)

    def take(self) -> Entry | None:
        """The next one that is due, which nobody else gets while the lease lasts."""
        now = self._clock()
        due = (
            sa.select(mails)
            .where(mails.c.state == "waiting", mails.c.next_at <= now, _free(now))
            .order_by(mails.c.type.in_(self._bulk), mails.c.next_at, mails.c.event_id)
            .limit(1)
            .with_for_update(skip_locked=True)  # on SQLite one writes at a time as it is
        )
        with self._database.writing() as connection:
            row = connection.execute(due).mappings().one_or_none()
            if row is None:
                return None
            taken = {"lease_until": now + LEASE, "tries": row["tries"] + 1}
            connection.execute(sa.update(mails).where(mails.c.event_id == row["event_id"]).values(**taken))
            return Entry(**{**row, **taken})

    def done(self, entry: Entry, state: Outcome, error: str = "") -> None:
        """What became of it."""
        self._end(entry, state=state, error=error[:MAX_ERROR], next_at=self._clock())

    def later(self, entry: Entry, error: str) -> None:
        """Try again after a pause that doubles; park it in the end."""
        if entry.tries >= MOST_TRIES:
            self.done(entry, "parked", error)
            return
        pause = min(FIRST_PAUSE * 2 ** min(entry.tries - 1, 20), LONGEST_PAUSE)
        spread = 1 + SPREAD * (2 * self._chance() - 1)
        self._end(entry, state="waiting", error=error[:MAX_ERROR], next_at=self._clock() + pause * spread)

    def _end(self, entry: Entry, **values: object) -> None:
        with self._database.writing() as connection:
            self._end_in(connection, entry, **values)

    def _end_in(self, connection: sa.Connection, entry: Entry, **values: object) -> None:
        this = sa.update(mails).where(mails.c.event_id == entry.event_id, mails.c.tries == entry.tries)
        connection.execute(this.values(lease_until=None, **values))

    def again(self, event_id: str) -> bool:
        """Have one tried anew, whatever became of it, unless somebody is at it; whether that is so."""
        return self._anew(mails.c.event_id == event_id) == 1

    def parked_again(self) -> int:
        """Have all tried anew that are parked; how many."""
        return self._anew(mails.c.state == "parked")

    def _anew(self, which: sa.ColumnElement[bool]) -> int:
        now = self._clock()
        values = {"state": "waiting", "tries": 0, "next_at": now, "lease_until": None, "error": ""}
        with self._database.writing() as connection:
            return connection.execute(sa.update(mails).where(which, _free(now)).values(**values)).rowcount

    def tidy(self) -> int:
        """Remove what has been dealt with for ``KEPT``; how many."""
        old = sa.delete(mails).where(mails.c.state != "waiting", mails.c.next_at < self._clock() - KEPT)
        with self._database.writing() as connection:
            return connection.execute(old).rowcount

    def listed(self, state: str | None = None) -> list[Entry]:
        """The newest, ``MAX_LISTED`` at most; those that have become one for each person only if asked for."""
        query = sa.select(mails).order_by(mails.c.queued_at.desc(), mails.c.event_id).limit(MAX_LISTED)
        which = mails.c.state != "addressed" if state is None else mails.c.state == state
        return self._entries(query.where(which))

    def found(self, beginning: str, most: int = 2) -> list[Entry]:
        """Those whose id begins so."""
        begins = mails.c.event_id.startswith(beginning, autoescape=True)
        return self._entries(sa.select(mails).where(begins).order_by(mails.c.event_id).limit(most))

    def fates(self, stream: str) -> list[Fate]:
        """What became of letters to each of several about events of this stream, since the earliest that is parked;
        the newest, ``MAX_LISTED`` at most."""
        of_stream = (mails.c.stream == stream,)
        parked = sa.select(sa.func.min(mails.c.next_at)).where(mails.c.state == "parked", *of_stream)
        with self._database.connect() as connection:
            first = connection.execute(parked).scalar()
        if first is None:
            return []
        since = (mails.c.state.in_(("sent", "parked")), mails.c.next_at >= first)
        query = sa.select(mails).where(*since, *of_stream).order_by(mails.c.next_at.desc()).limit(MAX_LISTED)
        ended = ((one, one.person) for one in self._entries(query))
        return [
            Fate(person, one.next_at, one.error if one.state == "parked" else "") for one, person in ended if person
        ]

    def _entries(self, query: sa.Select[tuple[object, ...]]) -> list[Entry]:
        with self._database.connect() as connection:
            return [Entry(**row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[str, int]:
        """How many are in each state."""
        with self._database.connect() as connection:
            query = sa.select(mails.c.state, sa.func.count().label("number")).group_by(mails.c.state)
            return {row.state: row.number for row in connection.execute(query)}


def _free(now: datetime) -> sa.ColumnElement[bool]:
    """Nobody is at it."""
    return sa.or_(mails.c.lease_until.is_(None), mails.c.lease_until <= now)
