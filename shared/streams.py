"""Commands on aggregates: load, decide, append with the exact version, again if the stream moved on.

A repeated command (a redelivery, our own retry, a client's) finds its own events by their derived ids and answers as
it did the first time.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Generic

import msgspec

from shared.aggregates import Aggregate, Command, State
from shared.context import Context
from shared.errors import Conflict, Misuse, Unknown
from shared.events.contracts import Registry
from shared.ids import event_id
from shared.store.port import NO_STREAM, Append, Appended, EventStore, Expected, Position, Recorded, StreamNotFound

ATTEMPTS = 10
"""How often a command is decided anew after a conflict before the caller is told."""
FIRST_PAUSE_S = 0.001
"""Between attempts there is a random pause of at most this, doubled each time, so that rivals do not meet for ever."""


class Loaded(msgspec.Struct, Generic[State], frozen=True):
    """A stream folded. ``version`` is -1 and ``position`` None for a stream that does not exist."""

    state: State
    version: int
    position: Position | None
    recorded: Sequence[Recorded]

    @property
    def expected(self) -> int | Expected:
        """What an append behind this must expect."""
        return NO_STREAM if self.version < 0 else self.version


class Handled(msgspec.Struct, Generic[State], frozen=True):
    """The outcome of a command: the state after it, and the position that makes its effects visible; the events are
    empty if it changed nothing."""

    state: State
    events: Sequence[object]
    version: int
    position: Position | None


class Streams:
    """Runs commands against one event store."""

    def __init__(self, store: EventStore, contracts: Registry, *, pause: Callable[[float], None] = time.sleep) -> None:
        self.store = store
        self.contracts = contracts
        self._pause = pause

    def load(self, aggregate: Aggregate[State, Command], stream: str, until: int | None = None) -> Loaded[State]:
        """Fold a stream, or what it was before the event of version ``until``; one that does not exist is the initial
        state."""
        try:
            recorded = self.store.read(stream)
        except StreamNotFound:
            recorded = []
        if until is not None:
            recorded = [event for event in recorded if event.version < until]
        state = aggregate.initial
        for event in recorded:
            state = aggregate.evolve(state, self.contracts.decode(event))
        last = recorded[-1] if recorded else None
        return Loaded(state, last.version if last else -1, last.position if last else None, recorded)

    def handle(
        self, aggregate: Aggregate[State, Command], stream: str, command: Command, context: Context
    ) -> Handled[State]:
        """Run one command. Raises what ``decide`` raises, ``Conflict`` after ``ATTEMPTS``, and ``Unavailable``."""
        for attempt in range(1, ATTEMPTS + 1):
            decided = self._decide(aggregate, stream, command, context, self.load(aggregate, stream))
            if isinstance(decided, Handled):
                return decided
            loaded, events, append = decided
            try:
                appended = self.store.append(append.stream, append.expected, append.events)
            except (Conflict, Unknown):
                if attempt == ATTEMPTS:
                    raise
                self._pause(random.uniform(0, FIRST_PAUSE_S * 2**attempt))  # noqa: S311 - only spreads attempts
                continue
            return self._handled(aggregate, loaded, events, appended)
        raise Misuse("unreachable")

    def handle_many(
        self,
        aggregate: Aggregate[State, Command],
        commands: Sequence[tuple[str, Command]],
        context: Context,
        *,
        likely_new: bool = False,
    ) -> list[Handled[State] | Exception]:
        """Commands on many streams, each stream at most once, appended together. One outcome each, in order; an
        exception is what ``handle`` would have raised for that one alone.

        ``likely_new``: most of the streams do not exist yet. Then none is read at first: each is decided as new and
        appended expecting no stream, and only those that do exist are read and decided again.
        """
        outcomes: list[Handled[State] | Exception] = [Misuse("not handled")] * len(commands)
        left = list(range(len(commands)))
        if likely_new:
            unread = Loaded(aggregate.initial, -1, None, ())
            left = self._round(aggregate, commands, left, outcomes, context, lambda _: unread)
        left = self._round(aggregate, commands, left, outcomes, context, lambda stream: self.load(aggregate, stream))
        for index in left:
            try:
                outcomes[index] = self.handle(aggregate, *commands[index], context)
            except Exception as failure:  # noqa: BLE001 - handed to the caller as the outcome
                outcomes[index] = failure
        return outcomes

    def _round(
        self,
        aggregate: Aggregate[State, Command],
        commands: Sequence[tuple[str, Command]],
        indices: Sequence[int],
        outcomes: list[Handled[State] | Exception],
        context: Context,
        load: Callable[[str], Loaded[State]],
    ) -> list[int]:
        """Fill in the outcomes of these commands; those that must be decided again are the answer."""
        pending: list[tuple[int, Loaded[State], list[object]]] = []
        appends: list[Append] = []
        again: list[int] = []
        for index in indices:
            stream, command = commands[index]
            try:
                decided = self._decide(aggregate, stream, command, context, load(stream))
            except Exception as refusal:  # noqa: BLE001 - handed to the caller as the outcome
                outcomes[index] = refusal
                continue
            if isinstance(decided, Handled):
                outcomes[index] = decided
                continue
            loaded, events, append = decided
            pending.append((index, loaded, events))
            appends.append(append)
        for (index, loaded, events), outcome in zip(pending, self.store.append_many(appends), strict=True):
            if isinstance(outcome, Appended):
                outcomes[index] = self._handled(aggregate, loaded, events, outcome)
            elif isinstance(outcome, Conflict | Unknown):
                again.append(index)
            else:
                outcomes[index] = outcome
        return again

    def _decide(
        self,
        aggregate: Aggregate[State, Command],
        stream: str,
        command: Command,
        context: Context,
        loaded: Loaded[State],
    ) -> Handled[State] | tuple[Loaded[State], list[object], Append]:
        """The outcome, if nothing is to be appended, else what is."""
        before = self._repeated(stream, loaded, context)
        if before is not None:
            return before
        events = list(aggregate.decide(loaded.state, command))
        if not events:
            return Handled(loaded.state, [], loaded.version, loaded.position)
        new = [self.contracts.encode(event, index, context, stream=stream) for index, event in enumerate(events)]
        return loaded, events, Append(stream, loaded.expected, new)

    def repeated(self, aggregate: Aggregate[State, Command], stream: str, context: Context) -> Handled[State] | None:
        """What this very command did to the stream, if it ran before; for whoever must look at more than ``decide``
        sees, which its own effects may have changed."""
        return self._repeated(stream, self.load(aggregate, stream), context)

    def _repeated(self, stream: str, loaded: Loaded[State], context: Context) -> Handled[State] | None:
        if not loaded.recorded:
            return None
        first = event_id(context.command_id, 0, stream)
        start = next((n for n, event in enumerate(loaded.recorded) if event.id == first), None)
        if start is None:
            return None
        mine = [
            event
            for index, event in enumerate(loaded.recorded[start:])
            if event.id == event_id(context.command_id, index, stream)
        ]
        decoded = [self.contracts.decode(event) for event in mine]
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
