"""The worker that carries out imports: at any time it goes on with whatever is not finished."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from time import monotonic

import sqlalchemy as sa

from services.devices.import_process import Order, run_apart
from services.devices.import_run import ImportRun
from services.devices.import_views import IMPORTS
from services.devices.platforms import Platforms
from shared.blobs import Blobs
from shared.errors import FlotillaError, Unavailable
from shared.events.contracts import Registry
from shared.imports import UNFINISHED
from shared.projections.database import Database
from shared.store.port import EventStore

log = logging.getLogger(__name__)

LONG_LINES = 20_000
"""An import of so many lines is worth the second that a process of its own takes to start."""
STOP_S = 10
"""How long ``stop`` waits for the chunk in hand."""
LOOK_S = 5.0
"""How often it looks for imports without being woken."""
SHORTEST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 60.0
"""Between two attempts at an import that fails."""


@dataclass(frozen=True, slots=True)
class _Retry:
    due_s: float
    pause_s: float


class ImportJob:
    """A ``Part``: one thread that carries out imports, the oldest first. ``wake`` may be called from any thread."""

    name = "devices imports"

    def __init__(
        self,
        store: EventStore,
        contracts: Registry,
        database: Database,
        blobs: Blobs,
        urls: tuple[str, str, str],
        *,
        long_lines: int = LONG_LINES,
    ) -> None:
        """``urls``: of store, blobs and views, for a process of its own."""
        self._store = store
        self._contracts = contracts
        self._database = database
        self._platforms = Platforms(database)
        self._blobs = blobs
        self._urls = urls
        self._long_lines = long_lines
        self._awake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._retries: dict[str, _Retry] = {}

    def start(self) -> None:
        """Go on with what is unfinished."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name="devices-imports", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Leave an import behind the chunk in hand; the next start goes on there."""
        self._stopping.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(STOP_S)
            if self._thread.is_alive():
                raise Unavailable(f"the import in hand did not pause within {STOP_S} s")
            self._thread = None

    def wake(self) -> None:
        """Look for imports now."""
        self._awake.set()

    def _work(self) -> None:
        while not self._stopping.is_set():
            self._awake.clear()
            try:
                unfinished = self._unfinished()
            except FlotillaError as error:
                log.error("imports cannot be looked for: %s", error)
                unfinished = []
            self._retries = {key: retry for key, retry in self._retries.items() if key in unfinished}
            for import_id in unfinished:
                self._attempt(import_id)
            self._awake.wait(min([LOOK_S, *(retry.due_s - monotonic() for retry in self._retries.values())]))

    def _attempt(self, import_id: str) -> None:
        retry = self._retries.get(import_id)
        if retry is not None and monotonic() < retry.due_s:
            return
        try:
            self.run(import_id)
        except Exception as error:
            pause_s = SHORTEST_PAUSE_S if retry is None else min(2 * retry.pause_s, LONGEST_PAUSE_S)
            self._retries[import_id] = _Retry(monotonic() + pause_s, pause_s)
            is_known = isinstance(error, FlotillaError)
            log.error("import %s fails, again in %.1f s: %s", import_id, pause_s, error, exc_info=not is_known)
        else:
            self._retries.pop(import_id, None)

    def _unfinished(self) -> list[str]:
        imports = self._database.table(IMPORTS)
        is_unfinished = imports.c.state.in_(UNFINISHED)
        query = sa.select(imports.c.import_id).where(is_unfinished).order_by(imports.c.started_at)
        with self._database.connect() as connection:
            return list(connection.execute(query).scalars())

    def _lines_left(self, import_id: str) -> int:
        imports = self._database.table(IMPORTS)
        left = sa.select(imports.c.lines_total - imports.c.lines_done).where(imports.c.import_id == import_id)
        with self._database.connect() as connection:
            return connection.execute(left).scalar() or 0

    def run(self, import_id: str) -> None:
        """Carry out an import from where it is to its end, or until ``stop``; a long one in a process of its own.
        Raises ``NotFound`` without its blob, ``Unavailable``."""
        is_over = self._stopping.is_set
        if self._lines_left(import_id) < self._long_lines:
            ImportRun(self._store, self._contracts, self._blobs, self._platforms.of_another, is_over).carry_out(
                import_id
            )
        else:
            run_apart(Order(*self._urls, import_id), is_over)
