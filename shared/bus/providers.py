"""What services depend on, as nameko dependency providers: their streams, their views, the clock.

Made with what they need (in a ``bootstrap``) they use that; made without, as class attributes are, ``EventStreams``
opens the store of the settings, so that ``nameko run`` works on the class as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import sqlalchemy as sa
from nameko.extensions import DependencyProvider

from shared.aggregates import Aggregate
from shared.bus.contexts import adopt
from shared.bus.messages import to_event
from shared.clock import Clock, system_clock
from shared.context import Context
from shared.errors import Misuse, Unavailable
from shared.events.contracts import CONTRACTS, Registry
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.projections.rows import Rows
from shared.projections.view import View
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import EventStore, Position
from shared.streams import Handled, Loaded, Streams

State = TypeVar("State")
Command = TypeVar("Command")

VIEW_PATIENCE_S = 2.0
"""How long a query waits for the position that its caller has seen."""


class WorkerStreams:
    """The streams as one worker uses them: with its context."""

    def __init__(self, streams: Streams, context: Context, contracts: Registry) -> None:
        self.context = context
        self._streams = streams
        self._contracts = contracts

    @property
    def store(self) -> EventStore:
        return self._streams.store

    @property
    def contracts(self) -> Registry:
        return self._contracts

    def handle(
        self, aggregate: Aggregate[State, Command], stream: str, command: Command, step: str | None = None
    ) -> Handled[State]:
        """As ``Streams.handle``; ``step`` names a further command of this worker on the same stream."""
        context = self.context if step is None else self.context.step(step)
        return self._streams.handle(aggregate, stream, command, context)

    def handle_many(
        self, aggregate: Aggregate[State, Command], commands: Sequence[tuple[str, Command]]
    ) -> list[Handled[State] | Exception]:
        """As ``Streams.handle_many``."""
        return self._streams.handle_many(aggregate, commands, self.context)

    def load(self, aggregate: Aggregate[State, Command], stream: str) -> Loaded[State]:
        """As ``Streams.load``."""
        return self._streams.load(aggregate, stream)

    def event(self, message: Mapping[str, Any]) -> Any:
        """The event in a message that a handler got; raises as ``Registry.decode``."""
        return to_event(message, self._contracts)


class EventStreams(DependencyProvider):  # type: ignore[misc]
    """Gives a worker its ``WorkerStreams``."""

    def __init__(self, streams: Streams | None = None, contracts: Registry = CONTRACTS) -> None:
        self._streams = streams
        self._contracts = contracts if streams is None else streams.contracts
        self._opened: EventStore | None = None
        super().__init__()

    def setup(self) -> None:
        if self._streams is None:
            self._opened = open_store(Settings.load().store)
            self._streams = Streams(self._opened, self._contracts)

    def stop(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = self._streams = None

    def get_dependency(self, worker_ctx: Any) -> WorkerStreams:
        if self._streams is None:
            raise Misuse("EventStreams was not set up")
        return WorkerStreams(self._streams, adopt(worker_ctx), self._contracts)


class WorkerViews:
    """The views as one worker reads them: not older than its caller has seen."""

    def __init__(self, database: Database, projector: Projector | None, context: Context) -> None:
        self._database = database
        self._projector = projector
        self._context = context

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection to read from. Raises ``Unavailable`` if the views do not reach the caller's position in
        2 s."""
        after = self._context.after
        if self._projector is not None and not self._projector.wait_for(after, VIEW_PATIENCE_S):
            raise Unavailable(f"the views have not reached position {after} yet")
        with self._database.connect() as connection:
            yield connection

    def at(self, copy: Database) -> WorkerViews:
        """The same views as they were: in a copy, for which nobody need wait."""
        return WorkerViews(copy, None, self._context)

    def as_they_are(self) -> WorkerViews:
        """The same views, however far they are."""
        return WorkerViews(self._database, None, self._context)

    def since(self, position: Position) -> WorkerViews:
        """The same views, not older than this event."""
        return WorkerViews(self._database, self._projector, replace(self._context, after=position))

    def table(self, view: View) -> sa.Table:
        """The rows of a view."""
        return self._database.table(view)

    def counts(self, view: View) -> sa.Table:
        """The counters of a view."""
        return self._database.counts(view)

    def rows(self, view: View) -> Rows:
        """What loads rows of a view by their keys."""
        return Rows(self._database, self._database.tables(view))

    def members(self, view: View) -> sa.Table:
        """The members of a view's sets."""
        return self._database.members(view)


class Views(DependencyProvider):  # type: ignore[misc]
    """Gives a worker its ``WorkerViews``."""

    def __init__(self, database: Database | None = None, projector: Projector | None = None) -> None:
        self._database = database
        self._projector = projector
        super().__init__()

    def setup(self) -> None:
        self._given()

    def get_dependency(self, worker_ctx: Any) -> WorkerViews:
        return WorkerViews(self._given(), self._projector, adopt(worker_ctx))

    def _given(self) -> Database:
        if self._database is None:
            raise Misuse(
                "Views needs the database that this service's projector fills: start the service by its bootstrap, "
                "or replace the provider by Views(database, projector)"
            )
        return self._database


class ClockProvider(DependencyProvider):  # type: ignore[misc]
    """Gives a worker the clock."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        super().__init__()

    def get_dependency(self, worker_ctx: Any) -> Clock:
        return self._clock
