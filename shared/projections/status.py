"""What can be told about a view that is being followed."""

from __future__ import annotations

from dataclasses import dataclass

from shared.store.port import Position


@dataclass(frozen=True, slots=True)
class ViewStatus:
    """How far one view is.

    ``lag_events`` is the distance of two positions: as positions are not contiguous, an upper bound rather than a
    count. ``lag_s`` is 0 at the end, else how old an event is that is not later than the first unapplied one, None if
    no such event is known. ``head`` and what follows from it are None while the store does not answer. ``error`` says
    what keeps the view from going on.
    """

    name: str
    version: int
    position: Position | None
    head: Position | None
    lag_events: int | None
    lag_s: float | None
    parked: int
    error: str | None
