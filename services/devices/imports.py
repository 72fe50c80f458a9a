"""One import of a file of device IDs, and how far it got.

Stream ``import-<id>``. Rule DEV-1. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import Misuse, NotFound, Refused
from shared.events.devices import ImportAdvanced, ImportCancelled, ImportFinished, ImportProblem, ImportStarted

MAX_LINES = 10_000_000
MAX_BYTES = 268_435_456
CHUNK_LINES = 1_000
"""Lines that are dealt with, and recorded, together."""
NO_SUCH_IMPORT = "Import not found."

Event = ImportStarted | ImportAdvanced | ImportCancelled | ImportFinished


@dataclass(frozen=True, slots=True)
class StartImport:
    """Import this blob."""

    import_id: str
    product_id: int
    blob: str
    size_bytes: int
    lines_total: int
    forced: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of some lines: how many devices joined, how many were members already, what was refused, and how
    many devices got a key that they did not have."""

    updated: int
    existing: int
    problems: Sequence[ImportProblem]
    keys_set: int = 0


@dataclass(frozen=True, slots=True)
class Advance:
    """So many lines are dealt with: all up to this offset, and ``ahead`` of those behind it."""

    lines_done: int
    offset_bytes: int
    outcome: Outcome
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class CancelImport:
    """Begin no more lines of it; what was done stays."""

    product_id: int


@dataclass(frozen=True, slots=True)
class Finish:
    """There are no more lines, or no more are wanted."""


Command = StartImport | Advance | CancelImport | Finish


@dataclass(frozen=True, slots=True)
class Import:
    """How far it is; ``started`` is None for one that does not exist."""

    started: ImportStarted | None = None
    offset_bytes: int = 0
    ahead: int = 0
    lines_done: int = 0
    updated: int = 0
    existing: int = 0
    refused: int = 0
    keys_set: int = 0
    cancelled: bool = False
    finished: bool = False


def decide(state: Import, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    match command:
        case StartImport():
            return [] if state.started else [_start(command)]
        case Advance():
            is_old = state.finished or command.lines_done <= state.lines_done
            return [] if is_old else [_advance(state, command)]
        case CancelImport(product_id):
            return _cancel(state, product_id)
        case Finish():
            started = _started(state)
            counts = (state.lines_done, state.updated, state.existing, state.refused, state.keys_set)
            return [] if state.finished else [ImportFinished(started.import_id, started.product_id, *counts)]
        case _:
            assert_never(command)


def _start(command: StartImport) -> ImportStarted:
    if command.lines_total > MAX_LINES:
        raise Refused(
            "too_large", f"the file has {command.lines_total} lines, at most {MAX_LINES} are imported at once"
        )
    return ImportStarted(
        command.import_id,
        command.product_id,
        command.blob,
        command.size_bytes,
        command.lines_total,
        command.forced,
    )


def _cancel(state: Import, product_id: int) -> list[Event]:
    started = state.started
    if started is None or started.product_id != product_id:
        raise NotFound(NO_SUCH_IMPORT)
    if state.cancelled:
        return []
    if state.finished:
        raise Refused("import_done", "The import is done: there is nothing left to cancel.")
    return [ImportCancelled(started.import_id, product_id)]


def _advance(state: Import, command: Advance) -> ImportAdvanced:
    started, outcome = _started(state), command.outcome
    return ImportAdvanced(
        started.import_id,
        started.product_id,
        command.offset_bytes,
        command.lines_done,
        state.updated + outcome.updated,
        state.existing + outcome.existing,
        state.refused + len(outcome.problems),
        list(outcome.problems),
        state.keys_set + outcome.keys_set,
        command.ahead,
    )


def _started(state: Import) -> ImportStarted:
    if state.started is None:
        raise Misuse("this import was never started")
    return state.started


def evolve(state: Import, event: Event) -> Import:
    """What the event makes true."""
    match event:
        case ImportStarted():
            return Import(started=event)
        case ImportAdvanced():
            return replace(
                state,
                offset_bytes=event.offset_bytes,
                ahead=event.ahead,
                lines_done=event.lines_done,
                updated=event.updated,
                existing=event.existing,
                refused=event.refused,
                keys_set=event.keys_set,
            )
        case ImportCancelled():
            return replace(state, cancelled=True)
        case ImportFinished():
            return replace(state, finished=True)
        case _:
            assert_never(event)


IMPORT: Aggregate[Import, Command] = Aggregate(Import(), decide, evolve)


def stream_of(import_id: str) -> str:
    """The stream of an import."""
    return f"import-{import_id}"
