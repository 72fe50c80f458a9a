"""The latest values that devices published at this gateway (MQU-1), kept over restarts: a view of the gateway's log.

It is brought up to date every second and not with every event, for a connected device's session knows what came since.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from services.gateway.latest_view import LATEST
from shared.clock import Clock, system_clock
from shared.errors import Unavailable
from shared.events.contracts import CONTRACTS, Registry
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.port import EventStore

log = logging.getLogger(__name__)

PAUSE_S = 1.0
STOP_S = 30.0
_LOCK_WAIT_S = 0.1
_LATEST = "SELECT latest FROM latest WHERE device_id = ?"


class LatestValues:
    """``store`` is the gateway's log. Look-ups are for the loop's thread."""

    def __init__(
        self,
        folder: Path,
        store: EventStore,
        contracts: Registry = CONTRACTS,
        *,
        clock: Clock = system_clock,
        pause_s: float = PAUSE_S,
    ) -> None:
        self._database = Database(f"sqlite:///{folder}", "latest")
        self._database.prepare([LATEST])
        self._projector = Projector("latest", store, self._database, [LATEST], contracts, clock=clock)
        self._rows = sqlite3.connect(
            f"file:{quote(str(folder / 'latest.db'))}?mode=ro",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=_LOCK_WAIT_S,
        )
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to follow the log."""
        self._thread = threading.Thread(target=self._run, name="latest values", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it; blocks until the thread has ended, for ``STOP_S`` at most. Safe to repeat."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            self._thread = None
        self._rows.close()
        self._database.close()

    def value(self, device_id: str, key: str) -> tuple[Any, int] | None:
        """The latest value of this key and its time, in microseconds since 1970; a second old or so. Raises
        ``Unavailable``."""
        try:
            row = self._rows.execute(_LATEST, (device_id,)).fetchone()
        except sqlite3.Error as error:
            raise Unavailable(f"the latest values cannot be read: {error}") from error
        found = None if row is None else json.loads(row[0]).get(key)
        return None if found is None else (found[0], found[1])

    def catch_up(self) -> None:
        """Follow the log to its end in the calling thread, while nothing was started. Raises ``Unavailable``."""
        self._projector.catch_up()

    def _run(self) -> None:
        while not self._stopping.wait(self._pause_s):
            try:
                self._projector.catch_up()
            except Exception as error:
                if not self._stopping.is_set():
                    log.error("latest values are not up to date", exc_info=not isinstance(error, Unavailable))
