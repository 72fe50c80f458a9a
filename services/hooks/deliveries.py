"""Where each webhook is, how it fares, and what became of its deliveries: tables of the service's database.

``hook_places``: for each webhook and gateway the position in that gateway's log up to which all is dealt with (NULL:
what was recorded at ``since`` and later); ``rewinds`` tells which rewinding it has heard of. ``hook_states``: failures
in a row. ``hook_deliveries``: an attempt a row, of which the newest are kept (``outcome``: see ``Delivery``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.hooks.attempts import Delivery, Place, State
from shared.projections.database import Database
from shared.projections.tables import Micros

KEPT_DELIVERIES = 1_000
"""Of one webhook."""
KEPT = timedelta(days=30)
TRIMMED_AFTER = 200
"""New rows of one webhook behind which the old ones are looked for."""
MAX_LISTED = 100

_metadata = sa.MetaData()
_places = sa.Table(
    "hook_places",
    _metadata,
    sa.Column("hook_id", sa.Text, primary_key=True),
    sa.Column("gateway", sa.Text, primary_key=True),
    sa.Column("position", sa.BigInteger),
    sa.Column("since", Micros, nullable=False),
    sa.Column("rewinds", sa.Integer, nullable=False),
)
_states = sa.Table(
    "hook_states",
    _metadata,
    sa.Column("hook_id", sa.Text, primary_key=True),
    sa.Column("changed_at", Micros, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failing_since", Micros),
    sa.Column("next_at", Micros),
)
_deliveries = sa.Table(
    "hook_deliveries",
    _metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("hook_id", sa.Text, nullable=False),
    sa.Column("gateway", sa.Text, nullable=False),
    sa.Column("position", sa.BigInteger),
    sa.Column("event_id", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("coreid", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.Text, nullable=False),
    sa.Column("at", Micros, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("duration_ms", sa.Integer, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("answer", sa.Text, nullable=False),
    sa.Index("hook_deliveries_of", "hook_id", "id"),
    sqlite_autoincrement=True,
)


class Deliveries:
    """Safe from any thread. A part of the process: its tables are made when it starts, behind the database's own."""

    name = "deliveries"

    def __init__(self, database: Database) -> None:
        self._database = database
        self._new: dict[str, int] = {}

    def start(self) -> None:
        """Make the tables, if they are missing."""
        with self._database.writing() as connection:
            _metadata.create_all(connection)

    def stop(self) -> None:
        """They stay."""

    def places(self, hook_id: str) -> dict[str, Place]:
        """Where it is, by gateway."""
        with self._database.connect() as connection:
            rows = connection.execute(sa.select(_places).where(_places.c.hook_id == hook_id))
            return {row.gateway: Place(row.position, row.since, row.rewinds) for row in rows}

    def state(self, hook_id: str, changed_at: datetime) -> State:
        """How it fares since it was changed the last time."""
        with self._database.connect() as connection:
            row = connection.execute(sa.select(_states).where(_states.c.hook_id == hook_id)).one_or_none()
        if row is None or row.changed_at != changed_at:
            return State(changed_at)
        return State(row.changed_at, row.failures, row.failing_since, row.next_at)

    def save(
        self, hook_id: str, places: dict[str, Place], state: State | None, deliveries: Sequence[Delivery] = ()
    ) -> None:
        """All that a round has changed, together."""
        with self._database.writing() as connection:
            for gateway, place in places.items():
                self._put(connection, _places, {"hook_id": hook_id, "gateway": gateway, **asdict(place)})
            if state is not None:
                self._put(connection, _states, {"hook_id": hook_id, **asdict(state)})
            rows = [{name: value for name, value in asdict(one).items() if name != "id"} for one in deliveries]
            if rows:
                connection.execute(sa.insert(_deliveries), rows)
            self._new[hook_id] = self._new.get(hook_id, TRIMMED_AFTER) + len(rows)
            if self._new[hook_id] >= TRIMMED_AFTER:
                self._trim(connection, hook_id)
                self._new[hook_id] = 0

    def _put(self, connection: sa.Connection, table: sa.Table, row: dict[str, Any]) -> None:
        key = [column.name for column in table.primary_key]
        insert = self._database.insert(table).values(row)
        changes = {name: value for name, value in row.items() if name not in key}
        connection.execute(insert.on_conflict_do_update(index_elements=key, set_=changes))

    def _trim(self, connection: sa.Connection, hook_id: str) -> None:
        mine = _deliveries.c.hook_id == hook_id
        newest = sa.select(_deliveries.c.id).where(mine).order_by(_deliveries.c.id.desc())
        first = connection.execute(newest.limit(1).offset(KEPT_DELIVERIES)).scalar()
        if first is not None:
            connection.execute(sa.delete(_deliveries).where(mine, _deliveries.c.id <= first))

    def tidy(self, hooks: Iterable[str], now: datetime) -> None:
        """Remove what is too old, and what is left of webhooks that are none of these."""
        known = set(hooks)
        self._new = {hook_id: new for hook_id, new in self._new.items() if hook_id in known}
        with self._database.writing() as connection:
            connection.execute(sa.delete(_deliveries).where(_deliveries.c.at < now - KEPT))
            for table in (_places, _states, _deliveries):
                kept = {row[0] for row in connection.execute(sa.select(table.c.hook_id).distinct())}
                for gone in kept - known:
                    connection.execute(sa.delete(table).where(table.c.hook_id == gone))

    def listed(self, hook_id: str, before: int | None, limit: int) -> list[Delivery]:
        """Attempts, the newest first."""
        query = sa.select(_deliveries).where(_deliveries.c.hook_id == hook_id)
        if before is not None:
            query = query.where(_deliveries.c.id < before)
        return self._found(query.order_by(_deliveries.c.id.desc()).limit(min(limit, MAX_LISTED)))

    def find(self, hook_id: str, event_id: str) -> Delivery | None:
        """The last attempt at this event."""
        mine = (_deliveries.c.hook_id == hook_id, _deliveries.c.event_id == event_id)
        found = self._found(sa.select(_deliveries).where(*mine).order_by(_deliveries.c.id.desc()).limit(1))
        return found[0] if found else None

    def _found(self, query: sa.Select[Any]) -> list[Delivery]:
        with self._database.connect() as connection:
            return [Delivery(**row) for row in connection.execute(query).mappings()]
