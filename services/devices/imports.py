"""One import of a file of device IDs, and how far it got.

Stream ``import-<id>``. Rule DEV-1. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from shared.aggregates import Aggregate
from shared.errors import Misuse, Refused
from shared.events.devices import ImportAdvanced, ImportFinished, ImportProblem, ImportStarted

MAX_LINES = 10_000_000
MAX_BYTES = 268_435_456
CHUNK_LINES = 1_000
"""Lines that are dealt with, and recorded, together."""

Event = ImportStarted | ImportAdvanced | ImportFinished


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
    """The lines up to this one, which ends at this offset, are dealt with."""

    lines_done: int
    offset_bytes: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Finish:
    """There are no more lines."""


Command = StartImport | Advance | Finish


@dataclass(frozen=True, slots=True)
class Import:
    """How far it is; ``started`` is None for one that does not exist."""

    started: ImportStarted | None = None
    offset_bytes: int = 0
    lines_done: int = 0
    updated: int = 0
    existing: int = 0
    refused: int = 0
    keys_set: int = 0
    finished: bool = False


def decide(state: Import, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    match command:
        case StartImport():
            return [] if state.started else [_start(command)]
        case Advance(lines_done, offset_bytes, outcome):
            return [] if lines_done <= state.lines_done else [_advance(state, lines_done, offset_bytes, outcome)]
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


def _advance(state: Import, lines_done: int, offset_bytes: int, outcome: Outcome) -> ImportAdvanced:
    started = _started(state)
    return ImportAdvanced(
        started.import_id,
        started.product_id,
        offset_bytes,
        lines_done,
        state.updated + outcome.updated,
        state.existing + outcome.existing,
        state.refused + len(outcome.problems),
        list(outcome.problems),
        state.keys_set + outcome.keys_set,
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
                lines_done=event.lines_done,
                updated=event.updated,
                existing=event.existing,
                refused=event.refused,
                keys_set=event.keys_set,
            )
        case ImportFinished():
            return replace(state, finished=True)
        case _:
            assert_never(event)


IMPORT: Aggregate[Import, Command] = Aggregate(Import(), decide, evolve)


def stream_of(import_id: str) -> str:
    """The stream of an import."""
    return f"import-{import_id}"
