"""A billing engine on a real store and database, without threads, with a provider in memory and a clock that is set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from services.billing.engine import Engine, engine
from services.billing.payments import BrowserPayments, Payments
from services.billing.standing import Subscription
from services.billing.subscriptions import (
    Command,
    Policy,
    StartSubscription,
    due_at,
    stream_of,
    subscriptions,
)
from services.billing.worker import BillingWorker
from shared.bus.local import LocalTransport
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.projections.database import Database
from shared.store.port import EventStore
from shared.streams import Streams
from tests.billing.played_provider import PlayedProvider
from tests.billing.timelines import card, member

START = datetime(2026, 3, 2, tzinfo=UTC)
BROWSER = BrowserPayments("pk", "script", "api")


@dataclass
class Kept:
    """What lasts while processes come and go; ``seconds`` is the monotonic clock of the worker."""

    store: EventStore
    views: str
    provider: PlayedProvider = field(default_factory=PlayedProvider)
    policy: Policy = field(default_factory=Policy)
    is_live: bool = False
    real: datetime = START
    seconds: float = 0.0
    opened: list[Database] = field(default_factory=list)

    @property
    def streams(self) -> Streams:
        return Streams(self.store, CONTRACTS)

    def process(self, store: EventStore | None = None, provider: Any = None) -> Engine:
        """A fresh one, with nothing in its memory."""
        database = Database(self.views, "billing")
        database.prepare([])
        self.opened.append(database)
        payments = Payments(cast(Any, provider or self.provider), not self.is_live, self.is_live, BROWSER)
        streams = Streams(store or self.store, CONTRACTS, pause=lambda _: None)
        made = engine(payments, LocalTransport("test"), streams, database, self.policy, lambda: self.real)
        worker = worker_of(made)
        worker._seconds = lambda: self.seconds
        worker._means.dues.prepare()
        worker._means.hints.prepare()
        worker.begin()
        return made

    def close(self) -> None:
        for database in self.opened:
            database.close()

    def do(self, org_id: str, command: Command, store: EventStore | None = None) -> Subscription:
        streams, context = Streams(store or self.store, CONTRACTS), Context.new("account:" + "a" * 24, "test")
        return streams.handle(subscriptions(self.policy), stream_of(org_id), command, context).state

    def start(self, org_id: str, kind: str = "ok", at: datetime = START) -> None:
        """An organization with a card of this kind."""
        self.do(org_id, StartSubscription(org_id, "monthly", member(1), "cus_1", card(kind), at))

    def state(self, org_id: str) -> Subscription:
        return self.streams.load(subscriptions(self.policy), stream_of(org_id)).state

    def events(self, org_id: str, *types: type) -> list[Any]:
        """Of its stream, of these types."""
        decoded = (CONTRACTS.decode(one) for one in self.store.read(stream_of(org_id)))
        return [event for event in decoded if isinstance(event, types)]

    def lives(self, made: Engine, until: datetime, org_id: str, most: int = 200) -> None:
        """Time passes up to there, with a look at everything that comes due."""
        worker = worker_of(made)
        for _ in range(most):
            at = due_at(self.state(org_id))
            self.real = until if at is None or at >= until else max(self.real, at)
            self.seconds += 1_000.0
            worker.look()
            if self.real >= until:
                return
        raise AssertionError("it never gets there")


def worker_of(made: Engine) -> BillingWorker:
    assert made.worker is not None
    return made.worker


Days = Callable[[float], datetime]


def day(number: float) -> datetime:
    """So many days after the start."""
    return START + timedelta(days=number)
