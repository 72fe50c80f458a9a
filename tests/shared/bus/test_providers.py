"""What services depend on, under our host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from nameko.events import event_handler
from nameko.rpc import rpc

from shared.aggregates import Aggregate
from shared.bus import wire
from shared.bus.calls import blocking_client
from shared.bus.errors import RemoteError
from shared.bus.host import ServiceHost
from shared.bus.local import LocalTransport
from shared.bus.messages import to_message
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.context import Context
from shared.errors import Misuse, Unavailable
from shared.events.billing import TrialStarted
from shared.events.contracts import CONTRACTS
from shared.events.metadata import metadata
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.projections.view import View
from shared.store.open import open_store
from shared.store.port import NO_STREAM, EventStore, Position
from shared.streams import Streams
from tests.prompt import prompt

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
ORG = "a" * 24

trials: Aggregate[bool, TrialStarted] = Aggregate(
    False, lambda started, event: [] if started else [event], lambda _state, _event: True
)
trial_view = View(
    name="trials",
    version=1,
    key=("org_id",),
    columns={"org_id": str, "plan": str},
    events=(TrialStarted,),
    keys=lambda event: [(event.org_id,)],
    fold=lambda _row, event, _recorded: {"org_id": event.org_id, "plan": event.plan},
    counted=("plan",),
    tally=lambda row: [("plans", row["plan"])],
)


class Billing:
    name = "billing"

    streams = EventStreams()
    views = Views()
    clock = ClockProvider()

    @rpc
    def start(self, org_id: str) -> dict[str, Any]:
        handled = self.streams.handle(trials, f"subscription-{org_id}", TrialStarted(org_id, "monthly", self.clock()))
        return {"position": handled.position}

    @rpc
    def start_many(self, org_ids: list[str]) -> int:
        commands = [(f"subscription-{org}", TrialStarted(org, "monthly", self.clock())) for org in org_ids]
        return len(self.streams.handle_many(trials, commands))

    @rpc
    def has(self, org_id: str) -> bool:
        return self.streams.load(trials, f"subscription-{org_id}").state

    @rpc
    def plans(self) -> list[list[Any]]:
        with self.views.read() as connection:
            rows = connection.execute(sa.select(self.views.table(trial_view).c.org_id)).scalars().all()
            counts = connection.execute(sa.select(self.views.counts(trial_view).c.n)).scalars().all()
        return [list(rows), list(counts)]

    @event_handler("elsewhere", "TrialStarted")
    def on_trial(self, message: dict[str, Any]) -> None:
        event = self.streams.event(message)
        self.streams.handle(trials, f"copy-{event.org_id}", event)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    opened = open_store(f"sqlite:///{tmp_path / 'events.db'}?durability=normal")
    yield prompt(opened)
    opened.close()


@pytest.fixture
def transport(store: EventStore, tmp_path: Path) -> Iterator[LocalTransport]:
    transport = LocalTransport()
    database = Database(f"sqlite:///{tmp_path / 'views'}", "billing")
    projector = Projector("billing", store, database, [trial_view], CONTRACTS)
    provide = {
        "streams": EventStreams(Streams(store, CONTRACTS)),
        "views": Views(database, projector),
        "clock": ClockProvider(lambda: NOON),
    }
    projector.start()
    host = ServiceHost(Billing, transport, provide=provide)
    host.start()
    yield transport
    host.stop()
    projector.stop()
    database.close()


def billing(transport: LocalTransport, context: Context) -> Any:
    return blocking_client(transport, context.headers(), 10.0).billing


def test_a_command_is_appended_once_with_the_context_of_its_caller(
    transport: LocalTransport, store: EventStore
) -> None:
    context = Context.new("account:me", "test")
    first = billing(transport, context).start(ORG)
    assert billing(transport, context).start(ORG) == first
    (recorded,) = store.read(f"subscription-{ORG}")
    meta = metadata(recorded)
    assert (meta.actor, meta.command, meta.source) == ("account:me", str(context.command_id), "test")
    assert CONTRACTS.decode(recorded) == TrialStarted(ORG, "monthly", NOON)
    assert billing(transport, context).has(ORG)
    assert billing(transport, Context.new("account:me", "test")).start_many(["b" * 24, "c" * 24]) == 2


def test_views_answer_what_the_caller_has_seen_and_refuse_what_they_have_not_reached(
    transport: LocalTransport,
) -> None:
    context = Context.new("account:me", "test")
    position = billing(transport, context).start(ORG)["position"]
    seen = Context(context.command_id, "account:me", "x", after=Position(position))
    assert billing(transport, seen).plans() == [[ORG], [1]]
    future = Context(context.command_id, "account:me", "x", after=Position(position + 1_000))
    with pytest.raises(Unavailable, match="have not reached"):
        billing(transport, future).plans()


def test_two_requests_of_a_program_that_sends_no_context_are_two_commands(
    transport: LocalTransport, store: EventStore
) -> None:
    stack = {"call_id_stack": ["their.worker.1"]}
    for org in (ORG, "b" * 24):
        blocking_client(transport, stack, 10.0).billing.start(org)
    commands = {metadata(store.read(f"subscription-{org}")[0]).command for org in (ORG, "b" * 24)}
    assert len(commands) == 2


def test_a_reaction_appends_with_the_event_as_its_cause(transport: LocalTransport, store: EventStore) -> None:
    context = Context.new("account:me", "test")
    new = CONTRACTS.encode(TrialStarted(ORG, "yearly", NOON), 0, context)
    store.append("origin", NO_STREAM, [new])
    body = wire.encode(to_message(store.read("origin")[0]))
    for _ in range(2):  # a redelivery changes nothing
        transport.publish("elsewhere", "TrialStarted", body, {}, handled=True).result(10)
    (reaction,) = store.read(f"copy-{ORG}")
    meta = metadata(reaction)
    assert (meta.causation, meta.correlation, meta.actor) == (str(new.id), context.correlation_id, "system:billing")
    assert meta.causation_place == "origin@0"


def test_views_without_a_database_say_what_is_missing() -> None:
    class Service:
        name = "reading"
        views = Views()

        @rpc
        def ping(self) -> None:
            """Never reached."""

    host = ServiceHost(Service, LocalTransport())
    with pytest.raises(Misuse, match="start the service by its bootstrap"):
        host.start()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("reading")]


def test_streams_without_a_store_open_the_one_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOTILLA_DATA", str(tmp_path))

    class Service:
        name = "plain"
        streams = EventStreams()

        @rpc
        def head(self) -> Any:
            return self.streams.store.head()

        @rpc
        def bug(self) -> None:
            raise KeyError("x")

    transport = LocalTransport()
    host = ServiceHost(Service, transport)
    host.start()
    client = blocking_client(transport, {}, 10.0).plain
    assert client.head() is None
    with pytest.raises(RemoteError, match="KeyError"):
        client.bug()
    host.stop()
    assert (tmp_path / "events.db").exists()
