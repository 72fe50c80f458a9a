"""Commands on aggregates: load, decide, append with the exact version, again if the stream moved on.

A repeated command (a redelivery, our own retry, a client's) finds its own events by their derived ids and answers as
it did the first time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic

from shared.aggregates import Aggregate, Command, State
from shared.context import Context
from shared.errors import Conflict, Unknown
from shared.events.contracts import Registry
from shared.ids import event_id
from shared.store.port import NO_STREAM, Append, Appended, EventStore, Expected, Position, Recorded, StreamNotFound

ATTEMPTS = 8
"""How often a command is decided anew after a conflict before the caller is told."""


@dataclass(frozen=True, slots=True)
class Loaded(Generic[State]):
    """A stream folded. ``version`` is -1 and ``position`` None for a stream that does not exist."""

    state: State
    version: int
    position: Position | None
    recorded: Sequence[Recorded]

    @property
    def expected(self) -> int | Expected:
        """What an append behind this must expect."""
        return NO_STREAM if self.version < 0 else self.version


@dataclass(frozen=True, slots=True)
class Handled(Generic[State]):
    """The outcome of a command: the state after it, and the position that makes its effects visible; the events are
    empty if it changed nothing."""

    state: State
    events: Sequence[object]
    version: int
    position: Position | None


class Streams:
    """Runs commands against one event store."""

    def __init__(self, store: EventStore, contracts: Registry) -> None:
        self.store = store
        self._contracts = contracts

    def load(self, aggregate: Aggregate[State, Command], stream: str) -> Loaded[State]:
        """Fold a stream; one that does not exist is the initial state."""
        try:
            recorded = self.store.read(stream)
        except StreamNotFound:
            recorded = []
        state = aggregate.initial
        for event in recorded:
            state = aggregate.evolve(state, self._contracts.decode(event))
        last = recorded[-1] if recorded else None
        return Loaded(state, last.version if last else -1, last.position if last else None, recorded)

    def handle(
        self, aggregate: Aggregate[State, Command], stream: str, command: Command, context: Context
    ) -> Handled[State]:
        """Run one command. Raises what ``decide`` raises, ``Conflict`` after ``ATTEMPTS``, and ``Unavailable``."""
        for attempt in range(1, ATTEMPTS + 1):
            loaded = self.load(aggregate, stream)
            before = self._repeated(loaded, context)
            if before is not None:
                return before
            events = list(aggregate.decide(loaded.state, command))
            if not events:
                return Handled(loaded.state, [], loaded.version, loaded.position)
            new = [self._contracts.encode(event, index, context) for index, event in enumerate(events)]
            try:
                appended = self.store.append(stream, loaded.expected, new)
            except (Conflict, Unknown):
                if attempt == ATTEMPTS:
                    raise
                continue
            return self._handled(aggregate, loaded, events, appended)
        raise AssertionError("unreachable")

    def handle_many(
        self, aggregate: Aggregate[State, Command], commands: Sequence[tuple[str, Command]], context: Context
    ) -> list[Handled[State] | Exception]:
        """The same command sense on many streams, appended together; each stream at most once. One outcome each, in
        order; an exception is what ``handle`` would have raised for that one alone."""
        outcomes: list[Handled[State] | Exception | None] = [None] * len(commands)
        pending: list[tuple[int, Loaded[State], list[object]]] = []
        appends: list[Append] = []
        for index, (stream, command) in enumerate(commands):
            loaded = self.load(aggregate, stream)
            repeated = self._repeated(loaded, context)
            if repeated is not None:
                outcomes[index] = repeated
                continue
            try:
                events = list(aggregate.decide(loaded.state, command))
            except Exception as refusal:  # noqa: BLE001 - handed to the caller as this command's outcome
                outcomes[index] = refusal
                continue
            if not events:
                outcomes[index] = Handled(loaded.state, [], loaded.version, loaded.position)
                continue
            new = [self._contracts.encode(event, number, context) for number, event in enumerate(events)]
            pending.append((index, loaded, events))
            appends.append(Append(stream, loaded.expected, new))
        for (index, loaded, events), outcome in zip(pending, self.store.append_many(appends), strict=True):
            if isinstance(outcome, Appended):
                outcomes[index] = self._handled(aggregate, loaded, events, outcome)
            else:
                outcomes[index] = self._again(aggregate, *commands[index], context, outcome)
        return [outcome for outcome in outcomes if outcome is not None]

    def _again(
        self,
        aggregate: Aggregate[State, Command],
        stream: str,
        command: Command,
        context: Context,
        outcome: Exception,
    ) -> Handled[State] | Exception:
        if not isinstance(outcome, Conflict | Unknown):
            return outcome
        try:
            return self.handle(aggregate, stream, command, context)
        except Exception as refusal:  # noqa: BLE001 - handed to the caller as this command's outcome
            return refusal

    def _repeated(self, loaded: Loaded[State], context: Context) -> Handled[State] | None:
        first = event_id(context.command_id, 0)
        start = next((n for n, event in enumerate(loaded.recorded) if event.id == first), None)
        if start is None:
            return None
        mine = [
            event
            for index, event in enumerate(loaded.recorded[start:])
            if event.id == event_id(context.command_id, index)
        ]
        decoded = [self._contracts.decode(event) for event in mine]
        return Handled(loaded.state, decoded, mine[-1].version, mine[-1].position)

    def _handled(
        self,
        aggregate: Aggregate[State, Command],
        loaded: Loaded[State],
        events: Sequence[object],
        appended: Appended,
    ) -> Handled[State]:
        state = loaded.state
        for event in events:
            state = aggregate.evolve(state, event)
        return Handled(state, events, appended.version, appended.position)
