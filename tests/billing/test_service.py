"""The service as it is hosted: real store, local bus, and the relay of ``orgs``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from nameko.testing.services import worker_factory

from services.billing.bootstrap import build
from services.billing.service import BillingService
from shared.bus.calls import blocking_client
from shared.bus.messages import to_message
from shared.bus.open import open_transport
from shared.bus.providers import WorkerStreams
from shared.bus.relay import Relay
from shared.context import Context
from shared.errors import NotFound
from shared.events.contracts import CONTRACTS
from shared.events.metadata import metadata
from shared.events.orgs import OrganizationCreated
from shared.projections.database import Database
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import NO_STREAM, EventStore, Only, Recorded
from shared.streams import Streams
from tests.keys import contracts_with_keys

TRIAL_STARTED = Only(types=frozenset({"TrialStarted"}))


@dataclass
class Installation:
    """What lasts while processes come and go."""

    settings: Settings
    store: EventStore
    transport: Any

    def process(self) -> Runtime:
        """``billing``, and the relay of ``orgs`` beside it."""
        billing = build(self.settings, self.transport, self.store)
        orgs = Database(self.settings.db, "orgs")
        orgs.prepare([])
        types = CONTRACTS.of_service("orgs")
        relay = Relay("orgs", self.store, self.transport, orgs.checkpoints(), types, contracts=CONTRACTS)
        return Runtime("test", [self.transport, Owner("views of orgs", orgs.close), billing, relay])

    def ask(self, org_id: str) -> Any:
        return blocking_client(self.transport, {}, 10.0).billing.subscription(org_id=org_id)


@pytest.fixture
def installation(tmp_path: Any, views_url: str) -> Iterator[Installation]:
    settings = Settings.load({}, data=tmp_path, db=views_url, payments="off:")
    store = open_store(settings.store)
    yield Installation(settings, store, open_transport("local:", name="test"))
    store.close()


@pytest.fixture
def create(installation: Installation) -> Callable[[str], Recorded]:
    def append(org_id: str) -> Recorded:
        event = OrganizationCreated(org_id, "Acme", "acme", "monthly", "a" * 24, "ada@example.com")
        context = Context.new("account:" + "a" * 24, "test", uuid4())
        new = contracts_with_keys().encode(event, 0, context)  # billing itself has no keys, and needs none
        installation.store.append(f"org-{org_id}", NO_STREAM, [new])
        return installation.store.read(f"org-{org_id}")[0]

    return append


def trial(store: EventStore) -> Recorded:
    """The first trial in the store, as soon as it is there."""
    subscription = store.subscribe(None, TRIAL_STARTED)
    found = next(event for event in subscription if isinstance(event, Recorded))
    subscription.stop()
    return found


def test_a_new_organization_is_on_trial_for_thirty_days_from_its_creation(installation, create) -> None:  # BIL-1
    running = installation.process()
    running.start()
    org = create("b" * 24)
    started = trial(installation.store)
    event = CONTRACTS.decode(started)
    assert (event.ends_at - org.at.replace(microsecond=0)).total_seconds() == 30 * 86_400
    assert metadata(started).causation == str(org.id)
    assert installation.ask("b" * 24) == {
        "state": "trialing",
        "reason": None,
        "plan": "monthly",
        "trial_ends_at": event.ends_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    }
    running.stop()


def test_an_organization_that_was_created_while_billing_was_away_gets_its_trial(installation, create) -> None:
    create("b" * 24)
    running = installation.process()
    running.start()
    assert CONTRACTS.decode(trial(installation.store)).org_id == "b" * 24
    running.stop()


def test_a_creation_that_is_heard_of_again_starts_no_second_trial(installation, create) -> None:
    message = to_message(create("b" * 24))
    for _ in range(3):
        context = Context.new("system:billing", "test", uuid4())
        streams = WorkerStreams(Streams(installation.store, CONTRACTS), context, CONTRACTS)
        worker_factory(BillingService, streams=streams).start_trial(message)
    assert len(installation.store.read_all(None, 100, TRIAL_STARTED).events) == 1


@pytest.mark.parametrize("org_id", ["f" * 24, "", "x" * 10_000])
def test_an_organization_that_was_never_heard_of_has_no_subscription(installation, org_id) -> None:
    running = installation.process()
    running.start()
    with pytest.raises(NotFound):
        installation.ask(org_id)
    running.stop()
