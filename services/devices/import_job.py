"""The worker that carries out imports: at any time it goes on with whatever is not finished.

A chunk of lines and the record of it may be repeated: the ids of its events follow from the import and the lines, so
a crash in between, or a second worker, makes no doubles (DEV-1).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from time import monotonic

import sqlalchemy as sa

from services.devices.device import DEVICE
from services.devices.id_file import IdReader, Line
from services.devices.import_chunk import import_chunk
from services.devices.import_views import IMPORTS
from services.devices.imports import CHUNK_LINES, IMPORT, Advance, Command, Finish, Import, stream_of
from shared.blobs import Blobs
from shared.context import Context
from shared.errors import FlotillaError, Unavailable
from shared.events.contracts import Registry
from shared.events.devices import ImportStarted
from shared.events.metadata import metadata
from shared.ids import derived_uuid
from shared.projections.database import Database
from shared.store.port import EventStore
from shared.streams import Loaded, Streams

log = logging.getLogger(__name__)

READ_BYTES = 65_536
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

    def __init__(self, store: EventStore, contracts: Registry, database: Database, blobs: Blobs) -> None:
        self._streams = Streams(store, contracts)
        self._contracts = contracts
        self._database = database
        self._blobs = blobs
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
        query = sa.select(imports.c.import_id).where(imports.c.state == "running").order_by(imports.c.started_at)
        with self._database.connect() as connection:
            return list(connection.execute(query).scalars())

    def run(self, import_id: str) -> None:
        """Carry out an import from where it is to its end, or until ``stop``. Raises ``NotFound`` without its blob."""
        loaded = self._streams.load(IMPORT, stream_of(import_id))
        started = loaded.state.started
        if started is None or loaded.state.finished:
            return
        progress = _Progress(self._streams.store, self._contracts, loaded)
        lines = self._lines(started, loaded.state)
        while chunk := list(islice(lines, CHUNK_LINES)):
            if self._stopping.is_set():
                return
            context = progress.context.step(f"lines-{chunk[0].number}")
            handle_many = partial(self._streams.handle_many, DEVICE, context=context, likely_new=True)
            report = import_chunk(chunk, started.product_id, started.forced, handle_many)
            progress.record(Advance(chunk[-1].number, chunk[-1].end, report.outcome))
        progress.record(Finish())

    def _lines(self, started: ImportStarted, state: Import) -> Iterator[Line]:
        reader = IdReader(state.lines_done, state.offset_bytes)
        with self._blobs.open(started.blob) as file:
            file.seek(state.offset_bytes)
            while data := file.read(READ_BYTES):
                yield from reader.feed(data)
        yield from reader.finish()


class _Progress:
    """Records how far an import is, without reading its long stream again for every chunk."""

    def __init__(self, store: EventStore, contracts: Registry, loaded: Loaded[Import]) -> None:
        first = loaded.recorded[0]
        meta = metadata(first)
        self._store = store
        self._contracts = contracts
        self._stream = first.stream
        self._state = loaded.state
        self._expected = loaded.expected
        self.context = Context(
            command_id=derived_uuid(first.stream),
            actor=meta.actor,
            correlation_id=meta.correlation,
            causation_id=str(first.id),
            source="devices",
        )

    def record(self, command: Command) -> None:
        """Raises ``Conflict`` if the import went on elsewhere; it is then to be loaded again."""
        events = IMPORT.decide(self._state, command)
        context = self.context.step(f"at-{self._state.lines_done}-{type(command).__name__}")
        new = [self._contracts.encode(event, index, context) for index, event in enumerate(events)]
        self._expected = self._store.append(self._stream, self._expected, new).version
        for event in events:
            self._state = IMPORT.evolve(self._state, event)
