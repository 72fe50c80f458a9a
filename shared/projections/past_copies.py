"""The table of past copies, ``past_copies``, beside a service's views: which there are, who builds one, who used it.

Several processes share it. A copy is built by whoever moves its row from ``waiting`` to ``building``; it writes its
progress there, and who has not done so for ``LEASE`` has lost the row to anybody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from shared.errors import Refused, Unavailable
from shared.projections.database import Database
from shared.projections.past_moments import Copy, Moment, Stamp, is_of
from shared.projections.tables import MAX_ERROR_CHARS, Micros
from shared.projections.view import View
from shared.store.port import Position

MAX_WAITING = 4
"""Most copies that wait to be built."""
LEASE = timedelta(seconds=30)
FAILED = timedelta(seconds=10)
"""So long a copy that could not be built is not tried again."""
IN_USE = timedelta(seconds=30)
"""A copy that was used so lately may have readers in any process, and stays."""
TOUCH = timedelta(seconds=5)
"""The time of use is noted no more often than this."""

_control = sa.MetaData()

copies = sa.Table(
    "past_copies",
    _control,
    sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("views", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("through_at", Micros),
    sa.Column("through_position", sa.BigInteger),
    sa.Column("last_position", sa.BigInteger),
    sa.Column("last_at", Micros),
    sa.Column("next_position", sa.BigInteger),
    sa.Column("next_at", Micros),
    sa.Column("events_done", sa.BigInteger, nullable=False),
    sa.Column("events_total", sa.BigInteger, nullable=False),
    sa.Column("base", sa.BigInteger),
    sa.Column("builder", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("seen_at", Micros, nullable=False),
    sa.Column("used_at", Micros, nullable=False),
    sqlite_autoincrement=True,
)
"""Numbers are never used again: a reader that comes late finds nothing rather than another moment."""


def signature(views: Sequence[View]) -> str:
    """Names and versions of the views of a copy, for example ``fleet 2, products 1``."""
    return ", ".join(f"{view.name} {view.version}" for view in views)


@dataclass(frozen=True, slots=True)
class PastCopies:
    """The copies of some views. ``keep``: how many are kept; ``builder``: the name of this process in the table."""

    database: Database
    views: str
    keep: int
    builder: str

    def prepare(self) -> None:
        """Create the table if it is missing; safe to repeat, and from several processes."""
        self.database.prepare([])  # its schema
        with self._alone() as connection:
            _control.create_all(connection)

    @contextmanager
    def _alone(self) -> Iterator[sa.Connection]:
        """A transaction beside which no other process adds or takes a copy; SQLite has one writer anyway."""
        with self.database.writing() as connection:
            if not self.database.is_sqlite:
                name = f"{self.database.service} {copies.name}"
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": name})
            yield connection

    def all(self) -> list[Copy]:
        """Of these views in these versions, the oldest first."""
        with self.database.connect() as connection:
            return self._all(connection)

    def _all(self, connection: sa.Connection) -> list[Copy]:
        query = sa.select(copies).where(copies.c.views == self.views).order_by(copies.c.number)
        return [_copy(row) for row in connection.execute(query)]

    def numbers(self) -> set[int]:
        """Of all copies of the service, also those of other versions of its views."""
        with self.database.connect() as connection:
            return set(connection.execute(sa.select(copies.c.number)).scalars())

    def outdated(self) -> list[int]:
        """Those of other versions of the views."""
        with self.database.connect() as connection:
            return list(connection.execute(sa.select(copies.c.number).where(copies.c.views != self.views)).scalars())

    def want(self, moment: Moment, total: int, now: datetime) -> Copy:
        """The copy of a moment, as ``copy_of`` gives it, or one that waits from now on. Raises ``Refused`` with
        ``too_many_requests``, and ``Unavailable``."""
        there = copy_of(self.all(), moment)
        if there is not None:
            return there
        with self._alone() as connection:
            present = self._all(connection)
            return copy_of(present, moment) or self._add(connection, present, moment, total, now)

    def _add(
        self, connection: sa.Connection, present: Sequence[Copy], moment: Moment, total: int, now: datetime
    ) -> Copy:
        if sum(copy.state == "waiting" for copy in present) >= MAX_WAITING:
            reason = f"{MAX_WAITING} past moments wait to be built already; try again in some seconds."
            raise Refused("too_many_requests", reason)
        if len(present) >= self.keep + MAX_WAITING:
            reason = f"{len(present)} past moments are in use already; try again in half a minute."
            raise Refused("too_many_requests", reason)
        row = {
            "views": self.views,
            "state": "waiting",
            "through_at": moment.at,
            "through_position": moment.position,
            "events_done": 0,
            "events_total": total,
            "seen_at": now,
            "used_at": now,
        }
        return _copy(connection.execute(sa.insert(copies).values(row).returning(*copies.c)).one())

    def take(self, now: datetime, moment: Moment | None = None) -> Copy | None:
        """Have the oldest copy that waits (or that of this moment) to build; None if there is none whose moment is
        settled."""
        if not any(_fits(copy, now, moment) for copy in self.all()):
            return None
        with self._alone() as connection:
            taken = next((copy for copy in self._all(connection) if _fits(copy, now, moment)), None)
            if taken is not None:
                connection.execute(_update(taken.number).values(state="building", builder=self.builder, seen_at=now))
            return taken

    def progress(self, number: int, done: int, now: datetime) -> None:
        """Write how far a copy is. Raises ``Unavailable`` if this process does not build it any more."""
        with self.database.writing() as connection:
            self._mine(connection, number, {"seen_at": now, "events_done": done})

    def ready(self, copy: Copy, last: Stamp | None, next_: Stamp | None, now: datetime) -> None:
        """It can be read from now on. Raises ``Unavailable`` as ``progress`` does."""
        stamps = _columns("last", last) | _columns("next", next_)
        values = {"state": "ready", "base": None, "used_at": now, "seen_at": now, **stamps}
        with self.database.writing() as connection:
            self._mine(connection, copy.number, values)

    def failed(self, number: int, error: str, now: datetime) -> None:
        """It could not be built. Raises ``Unavailable`` as ``progress`` does."""
        with self.database.writing() as connection:
            values = {"state": "failed", "error": error[:MAX_ERROR_CHARS], "base": None, "seen_at": now}
            self._mine(connection, number, values)

    def extend(self, ready: Copy, moment: Moment, next_: Stamp | None) -> None:
        """A ready copy is also of this moment: nothing happened in between."""
        values: dict[str, object] = dict(_columns("next", next_)) if next_ else {}
        if moment.at is not None:
            values["through_at"] = max(moment.at, ready.through_at or moment.at)
        elif moment.position is not None:
            values["through_position"] = max(moment.position, ready.through_position or moment.position)
        with self.database.writing() as connection:
            connection.execute(_update(ready.number).values(values))

    def touch(self, copy: Copy, now: datetime) -> bool:
        """Note that it is used, which keeps it for ``IN_USE``; False if it is gone."""
        if timedelta(0) <= now - copy.used_at < TOUCH:
            return True
        with self.database.writing() as connection:
            return connection.execute(_update(copy.number).values(used_at=now)).rowcount == 1

    def hold(self, base: int, number: int, now: datetime) -> bool:
        """Keep a ready copy as long as another one is built from it; False if it is gone. Raises ``Unavailable`` as
        ``progress`` does."""
        with self.database.writing() as connection:
            if connection.execute(_update(base).where(copies.c.state == "ready").values(seen_at=now)).rowcount != 1:
                return False
            self._mine(connection, number, {"seen_at": now, "base": base})
            return True

    def forget(self, connection: sa.Connection, number: int, idle: Copy | None = None) -> bool:
        """Take it out of the table; False if it is gone, or was used or held since it was as ``idle`` says."""
        statement = sa.delete(copies).where(copies.c.number == number)
        if idle is not None:
            statement = statement.where(copies.c.used_at == idle.used_at, copies.c.seen_at == idle.seen_at)
        return connection.execute(statement).rowcount == 1

    def _mine(self, connection: sa.Connection, number: int, values: Mapping[str, object]) -> None:
        mine = _update(number).where(copies.c.builder == self.builder, copies.c.state == "building")
        if connection.execute(mine.values(values)).rowcount != 1:
            raise Unavailable("somebody else builds this past moment now")


def too_many(present: Sequence[Copy], keep: int, now: datetime) -> list[Copy]:
    """Ready copies beyond ``keep``, the least recently used first, that nobody reads or builds upon."""
    ready = sorted((copy for copy in present if copy.state == "ready"), key=lambda copy: (copy.used_at, copy.number))
    bases = {copy.base for copy in present}
    idle = [copy for copy in ready if copy.number not in bases and now - copy.used_at >= IN_USE]
    return idle[: max(0, len(ready) - keep)]


def left_behind(present: Sequence[Copy], now: datetime) -> list[Copy]:
    """Those that failed a while ago, and those whose builder gives no sign of life."""
    spans = {"failed": FAILED, "building": LEASE}
    return [copy for copy in present if copy.state in spans and now - copy.seen_at >= spans[copy.state]]


def copy_of(present: Sequence[Copy], moment: Moment) -> Copy | None:
    """The copy of a moment: ready, being built, or waiting. Raises ``Unavailable`` for one that failed a moment
    ago."""
    good = [copy for copy in present if (is_of(copy, moment) if copy.state == "ready" else copy.wanted == moment)]
    best = min(good, key=lambda copy: copy.state != "ready", default=None)
    if best is not None and best.state == "failed":
        raise Unavailable(f"the views as of {moment} could not be built: {best.error}")
    return best


def _fits(copy: Copy, now: datetime, moment: Moment | None) -> bool:
    return copy.state == "waiting" and copy.wanted.is_settled(now) and moment in (None, copy.wanted)


def _update(number: int) -> sa.Update:
    return sa.update(copies).where(copies.c.number == number)


def _columns(name: str, stamp: Stamp | None) -> dict[str, object]:
    return {f"{name}_position": stamp.position if stamp else None, f"{name}_at": stamp.at if stamp else None}


def _copy(row: sa.Row[tuple[object, ...]]) -> Copy:
    values = row._mapping
    return Copy(
        number=values["number"],
        state=values["state"],
        through_at=values["through_at"],
        through_position=values["through_position"],
        last=_stamp(values["last_position"], values["last_at"]),
        next=_stamp(values["next_position"], values["next_at"]),
        events_done=values["events_done"],
        events_total=values["events_total"],
        base=values["base"],
        error=values["error"],
        seen_at=values["seen_at"],
        used_at=values["used_at"],
    )


def _stamp(position: int | None, at: datetime | None) -> Stamp | None:
    return None if position is None or at is None else Stamp(Position(position), at)
