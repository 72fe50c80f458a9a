"""Messages of the payment provider that are still to be followed: a table of the service's database (GW-5).

A hint says what to look at again, and nothing that is believed. Its id is remembered for ``KEPT``, so one that comes
twice is followed once; nothing depends on any of them, so when too many wait, further ones are not kept.
"""

from __future__ import annotations

from datetime import timedelta

import sqlalchemy as sa

from services.billing.provider import Hint
from shared.clock import Clock
from shared.projections.database import Database
from shared.projections.tables import Micros

KEPT = timedelta(days=7)
"""The provider sends one again for three days at most."""
MOST_WAITING = 10_000
PAGE = 100

_metadata = sa.MetaData()
_hints = sa.Table(
    "payment_hints",
    _metadata,
    sa.Column("hint_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("provider_ref", sa.Text, nullable=False),
    sa.Column("received_at", Micros, nullable=False),
    sa.Column("followed", sa.Boolean, nullable=False),
    sa.Index("payment_hints_waiting", "followed", "received_at"),
)


class Hints:
    """Safe from any thread, and from several processes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def prepare(self) -> None:
        """Make the table, if it is missing; the database must have been prepared before."""
        with self._database.writing() as connection:
            _metadata.create_all(connection)

    def add(self, hint: Hint) -> bool:
        """Keep it; False for one that is known, or that there is no room for."""
        row = {
            "hint_id": hint.hint_id,
            "kind": hint.kind,
            "provider_ref": hint.provider_ref,
            "received_at": self._clock(),
            "followed": False,
        }
        waiting = sa.select(sa.func.count()).select_from(_hints).where(_hints.c.followed.is_(False))
        with self._database.writing() as connection:
            if connection.execute(waiting).scalar_one() >= MOST_WAITING:
                return False
            added = connection.execute(self._database.insert(_hints).values(row).on_conflict_do_nothing())
            return added.rowcount == 1

    def waiting(self) -> list[Hint]:
        """Those that are to be followed, the oldest first; a page of them."""
        query = sa.select(_hints).where(_hints.c.followed.is_(False)).order_by(_hints.c.received_at).limit(PAGE)
        with self._database.connect() as connection:
            return [Hint(row.hint_id, row.kind, row.provider_ref) for row in connection.execute(query)]

    def followed(self, hint: Hint) -> None:
        """It has been dealt with."""
        with self._database.writing() as connection:
            connection.execute(sa.update(_hints).where(_hints.c.hint_id == hint.hint_id).values(followed=True))

    def tidy(self) -> None:
        """Forget the old ones."""
        with self._database.writing() as connection:
            connection.execute(sa.delete(_hints).where(_hints.c.received_at < self._clock() - KEPT))
