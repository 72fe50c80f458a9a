"""What the views of a projector work with."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from shared.events.contracts import Registry
from shared.projections.database import Database
from shared.projections.parked import ParkedEvents
from shared.store.port import EventStore


@dataclass(frozen=True, slots=True)
class Tools:
    """What all views of a projector share."""

    store: EventStore
    database: Database
    contracts: Registry
    parked: ParkedEvents
    page_events: int
    stopping: threading.Event
