"""What the views of a projector work with."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from shared.events.contracts import Registry
from shared.projections.database import Database
from shared.projections.history import History
from shared.projections.parked import ParkedEvents


@dataclass(frozen=True, slots=True)
class Tools:
    """What all views of a projector share. ``store`` is what is followed, ``history`` what replays read if that is
    not the same: the same behind a mirror."""

    store: History
    database: Database
    contracts: Registry
    parked: ParkedEvents
    page_events: int
    stopping: threading.Event
    history: History | None = None
