"""The service as it is hosted: real store, local bus, and the relay of ``orgs``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import pytest

from services.billing.bootstrap import build
from services.billing.payments import OFF, BrowserPayments, Payments
from services.billing.provider import Provider
from shared.bus.calls import blocking_client
from shared.bus.open import open_transport
from shared.bus.relay import Relay
from shared.context import Context
from shared.errors import NotFound
from shared.events.contracts import CONTRACTS
from shared.events.metadata import metadata
from shared.events.orgs import MemberJoined, OrganizationCreated
from shared.projections.database import Database
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import NO_STREAM, EventStore, Only, Recorded
from tests.billing.card_provider import CardProvider
from tests.keys import contracts_with_keys

ADA = "a" * 24


@dataclass
class Installation:
    """What lasts while processes come and go."""

    settings: Settings
    store: EventStore
    transport: Any

    def process(self, provider: CardProvider | None = None) -> Runtime:
        """``billing``, and the relay of ``orgs`` beside it."""
        browser = BrowserPayments("pk", "https://pay.example/script", "https://pay.example")
        paid = Payments(cast(Provider, provider), is_sandbox=True, is_live=False, browser=browser)
        billing = build(self.settings, self.transport, self.store, payments=paid if provider else OFF)
        orgs = Database(self.settings.db, "orgs")
        orgs.prepare([])
        types = CONTRACTS.of_service("orgs")
        relay = Relay("orgs", self.store, self.transport, orgs.checkpoints(), types, contracts=CONTRACTS)
        return Runtime("test", [self.transport, Owner("views of orgs", orgs.close), billing, relay])

    @property
    def billing(self) -> Any:
        return blocking_client(self.transport, {}, 10.0).billing

    def ask(self, org_id: str) -> Any:
        return self.billing.subscription(org_id=org_id)


@pytest.fixture
def installation(tmp_path: Any, views_url: str) -> Iterator[Installation]:
    settings = Settings.load({}, data=tmp_path, db=views_url, payments="off:")
    store = open_store(settings.store)
    yield Installation(settings, store, open_transport("local:", name="test"))
    store.close()


@pytest.fixture
def create(installation: Installation) -> Callable[..., Recorded]:
    """The organization with its founder, or what happens to it next."""

    def append(org_id: str, *further: Any) -> Recorded:
        created = OrganizationCreated(org_id, "Acme", "acme", "monthly", ADA, "ada@example.com")
        events = further or (created, MemberJoined(org_id, ADA, "ada@example.com", "administrator"))
        context = Context.new(f"account:{ADA}", "test", uuid4())
        contracts = contracts_with_keys()  # billing itself has no keys, and needs none
        new = [contracts.encode(event, number, context) for number, event in enumerate(events)]
        installation.store.append(f"org-{org_id}", 1 if further else NO_STREAM, new)
        return installation.store.read(f"org-{org_id}")[0]

    return append


def first(store: EventStore, kind: str) -> Recorded:
    """The first event of this type in the store, as soon as it is there."""
    subscription = store.subscribe(None, Only(types=frozenset({kind})))
    found = next(event for event in subscription if isinstance(event, Recorded))
    subscription.stop()
    return found


def test_a_new_organization_is_on_trial_for_thirty_days_from_its_creation(installation, create) -> None:  # BIL-1
    running = installation.process()
    running.start()
    org = create("b" * 24)
    started = first(installation.store, "TrialStarted")
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
    assert CONTRACTS.decode(first(installation.store, "TrialStarted")).org_id == "b" * 24
    running.stop()


def test_an_organization_of_a_draft_has_its_card_and_its_team_as_seats(installation, create) -> None:  # ORG-1, ORG-4
    provider = CardProvider()
    running = installation.process(provider)
    running.start()
    draft = installation.billing.begin_draft(account_id=ADA)
    setup_id = draft["card_setup"]["setup_id"]
    provider.gives_card(setup_id)
    org_id = draft["draft_id"]
    assert installation.billing.finish_draft(draft_id=org_id, account_id=ADA, setup_id=setup_id)["org_id"] == org_id
    create(org_id)
    started = first(installation.store, "SubscriptionStarted")
    assert CONTRACTS.decode(started).card == provider.setups[setup_id][1]
    create(org_id, MemberJoined(org_id, "c" * 24, "bob@example.com", "administrator"))
    assert CONTRACTS.decode(first(installation.store, "SeatAdded")).seats == 2
    assert installation.billing.summary(org_id=org_id)["summary"]["seats"] == 2
    assert first(installation.store, "DraftUsed").stream == f"draft-{org_id}"
    running.stop()


@pytest.mark.parametrize("org_id", ["f" * 24, "", "x" * 10_000])
def test_an_organization_that_was_never_heard_of_has_no_subscription(installation, org_id) -> None:
    running = installation.process()
    running.start()
    with pytest.raises(NotFound):
        installation.ask(org_id)
    running.stop()
