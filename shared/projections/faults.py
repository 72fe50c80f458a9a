"""What can keep a view from going on, and who is to blame."""

from __future__ import annotations

import sqlalchemy as sa

from shared.errors import Unavailable
from shared.projections.parked import describe
from shared.store.port import Recorded


class PoisonError(Exception):
    """A view that stops at poison met an event that it cannot fold."""

    def __init__(self, view: str, recorded: Recorded, error: BaseException) -> None:
        super().__init__(f"{view} stops at {recorded.type} {recorded.stream}/{recorded.version}: {describe(error)}")


class LostRace(Exception):
    """Somebody else moved the position."""


def is_poison(error: Exception) -> bool:
    """Whether the event is to blame, not the store or the database: they would fail with the next one too."""
    if isinstance(error, sa.exc.DataError | sa.exc.IntegrityError):
        return True
    if isinstance(error, sa.exc.InterfaceError):  # SQLite's word for a value of a type that it cannot keep
        return not error.connection_invalidated
    return not isinstance(error, sa.exc.SQLAlchemyError | Unavailable | LostRace | PoisonError | OSError | MemoryError)
