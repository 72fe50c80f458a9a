"""Events that a view could not fold, kept with the reason until somebody has it tried again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from shared.clock import Clock
from shared.projections.database import Database
from shared.projections.tables import MAX_ERROR_CHARS, parked
from shared.store.port import Position, Recorded

MAX_LISTED = 1_000
"""Most parked events in one answer, the oldest first."""


@dataclass(frozen=True, slots=True)
class Parked:
    """An event that ``view`` went on without; ``stream`` and ``version`` say where it stands, ``at`` when it was
    tried last."""

    id: int
    view: str
    position: Position
    event_id: str
    type: str
    stream: str
    version: int
    error: str
    at: datetime


def describe(error: BaseException) -> str:
    """An error as bounded text."""
    return f"{type(error).__name__}: {error}".replace("\x00", "")[:MAX_ERROR_CHARS]


class ParkedEvents:
    """The table of parked events. Whoever changes it passes the transaction that the change belongs to."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def elsewhere(self, database: Database) -> ParkedEvents:
        """The same of another database."""
        return ParkedEvents(database, self._clock)

    def add(self, connection: sa.Connection, view: str, recorded: Recorded, error: BaseException) -> None:
        """Park an event."""
        row = {
            "view": view,
            "position": recorded.position,
            "event_id": str(recorded.id),
            "type": recorded.type,
            "stream": recorded.stream,
            "version": recorded.version,
            "error": describe(error),
            "at": self._clock(),
        }
        connection.execute(sa.insert(parked).values(row))

    def remove(self, connection: sa.Connection, parked_id: int) -> bool:
        """Unpark an event; whether it was still parked."""
        return connection.execute(sa.delete(parked).where(parked.c.id == parked_id)).rowcount == 1

    def failed_again(self, parked_id: int, error: BaseException) -> None:
        """Keep the newer reason."""
        with self._database.writing() as connection:
            values = {"error": describe(error), "at": self._clock()}
            connection.execute(sa.update(parked).where(parked.c.id == parked_id).values(values))

    def clear(self, connection: sa.Connection, view: str) -> None:
        """Forget all of a view."""
        connection.execute(sa.delete(parked).where(parked.c.view == view))

    def rename(self, connection: sa.Connection, old: str, new: str) -> None:
        """Give all of one view to another."""
        connection.execute(sa.update(parked).where(parked.c.view == old).values(view=new))

    def listed(self, views: set[str]) -> list[Parked]:
        """The oldest ``MAX_LISTED`` of these views."""
        query = sa.select(parked).where(parked.c.view.in_(views)).order_by(parked.c.id).limit(MAX_LISTED)
        with self._database.connect() as connection:
            return [Parked(**row) for row in connection.execute(query).mappings()]

    def find(self, parked_id: int) -> Parked | None:
        """One of them."""
        with self._database.connect() as connection:
            row = connection.execute(sa.select(parked).where(parked.c.id == parked_id)).mappings().one_or_none()
        return None if row is None else Parked(**row)

    def count(self) -> dict[str, int]:
        """How many each view has; a view without any is not in it."""
        with self._database.connect() as connection:
            query = sa.select(parked.c.view, sa.func.count().label("number")).group_by(parked.c.view)
            return {row.view: row.number for row in connection.execute(query)}
