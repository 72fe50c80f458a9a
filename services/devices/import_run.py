"""One import carried out, chunk by chunk, from where it is to its end.

A chunk of lines and the record of it may be repeated: the ids of its events follow from the import and the lines, so
a crash in between, or a second worker, makes no doubles (DEV-1).

Lines are taken in the order of their device IDs, window by window. Every index of the store and of all views behind it
then grows where it grew last; with IDs at random each new one touches a page of its own, which from some 100,000
devices on makes the disk several times busier than the processors (decision 08).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import islice
from typing import BinaryIO

from services.devices.device import DEVICE
from services.devices.id_file import IdReader, Keyed, Line
from services.devices.import_chunk import import_chunk
from services.devices.imports import CHUNK_LINES, IMPORT, Advance, Command, Finish, Import, stream_of
from shared.blobs import Blobs
from shared.context import Context
from shared.errors import Conflict
from shared.events.contracts import Registry
from shared.events.devices import ImportStarted
from shared.events.metadata import metadata
from shared.ids import derived_uuid
from shared.store.port import EventStore, Position
from shared.streams import Loaded, Streams

READ_BYTES = 65_536
WINDOW_LINES = 200_000
"""Lines that are sorted together. ``ImportAdvanced.ahead`` counts in that order: with another number here, an import
that was begun before would go on at the wrong line."""


class ImportRun:
    """Carries out imports in the calling thread; ``is_over`` is asked between two chunks whether to leave off.
    ``of_another``: which devices are of another platform than a product's; ``pace`` is called with the position that a
    chunk reached, and returns when the next may follow."""

    def __init__(
        self,
        store: EventStore,
        contracts: Registry,
        blobs: Blobs,
        of_another: Callable[[int, Collection[str]], Collection[str]],
        is_over: Callable[[], bool] = lambda: False,
        *,
        pace: Callable[[Position], None] = lambda _: None,
        chunk_lines: int = CHUNK_LINES,
        window_lines: int = WINDOW_LINES,
    ) -> None:
        self._streams = Streams(store, contracts)
        self._blobs = blobs
        self._of_another = of_another
        self._is_over = is_over
        self._pace = pace
        self._chunk_lines = chunk_lines
        self._window_lines = window_lines

    def carry_out(self, import_id: str) -> None:
        """Returns at its end, when it is cancelled, or when it is over. Raises ``NotFound`` without its blob, and what
        the store raises; the next attempt then goes on."""
        loaded = self._streams.load(IMPORT, stream_of(import_id))
        started = loaded.state.started
        if started is None or loaded.state.finished:
            return
        progress = _Progress(self._streams, loaded)
        while not progress.state.finished and not self._is_over():
            self._go_on(started, progress)

    def _go_on(self, started: ImportStarted, progress: _Progress) -> None:
        """One window of it, or until somebody else has brought it somewhere else."""
        state = progress.state
        window = [] if state.cancelled else self._window(started, state)  # its file may be what it was cancelled for
        if not window:
            progress.record(Finish())
            return
        first, ahead, end = state.lines_done - state.ahead, state.ahead, window[-1].end
        in_order = sorted(window, key=_place)
        while ahead < len(window) and not self._is_over():
            chunk = in_order[ahead : ahead + self._chunk_lines]
            context = progress.context.step(f"lines-{chunk[0].number}")
            handle_many = partial(self._streams.handle_many, DEVICE, context=context, likely_new=True)
            of_another = partial(self._of_another, started.product_id)
            outcome = import_chunk(chunk, started.product_id, started.forced, handle_many, of_another).outcome
            ahead += len(chunk)
            if ahead == len(window):
                progress.record(Advance(first + ahead, end, outcome))
            else:
                progress.record(Advance(first + ahead, state.offset_bytes, outcome, ahead))
            if progress.state.cancelled or progress.state.lines_done != first + ahead:
                return
            if progress.position is not None:
                self._pace(progress.position)

    def _window(self, started: ImportStarted, state: Import) -> list[Line]:
        """The lines behind the offset that are taken in one order, those that are dealt with among them."""
        with self._blobs.open(started.blob) as file:
            file.seek(state.offset_bytes)
            return list(islice(_lines(file, state.lines_done - state.ahead, state.offset_bytes), self._window_lines))


def _lines(file: BinaryIO, lines_before: int, offset: int) -> Iterator[Line]:
    reader = IdReader(lines_before, offset)
    while data := file.read(READ_BYTES):
        yield from reader.feed(data)
    yield from reader.finish()


def _place(line: Line) -> tuple[str, int]:
    """Where a line stands in its window: those without an ID first, each device's in their order."""
    match line.content:
        case Keyed(device_id):
            return device_id, line.number
        case str() as device_id:
            return device_id, line.number
        case _:
            return "", line.number


class _Progress:
    """Records how far an import is, without reading its long stream again for every chunk."""

    def __init__(self, streams: Streams, loaded: Loaded[Import]) -> None:
        first = loaded.recorded[0]
        meta = metadata(first)
        self._streams = streams
        self._stream = first.stream
        self._expected = loaded.expected
        self.state = loaded.state
        self.position: Position | None = None
        self.context = Context(
            command_id=derived_uuid(first.stream),
            actor=meta.actor,
            correlation_id=meta.correlation,
            causation_id=str(first.id),
            source="devices",
        )

    def record(self, command: Command) -> None:
        """Where the stream moved on, because somebody cancelled the import or it went on elsewhere, what there is still
        to say is said behind that."""
        while events := IMPORT.decide(self.state, command):
            context = self.context.step(f"at-{self.state.lines_done}-{type(command).__name__}")
            new = [self._streams.contracts.encode(event, index, context) for index, event in enumerate(events)]
            try:
                appended = self._streams.store.append(self._stream, self._expected, new)
            except Conflict:
                loaded = self._streams.load(IMPORT, self._stream)
                self._expected, self.state = loaded.expected, loaded.state
                continue
            self._expected, self.position = appended.version, appended.position
            for event in events:
                self.state = IMPORT.evolve(self.state, event)
            return
