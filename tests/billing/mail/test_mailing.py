"""Whom of a team a letter goes to, and the service as it is hosted: from the streams to the folder, each once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nameko.rpc import rpc

from services.billing.bootstrap import build
from services.billing.mail.mailing import Mailing, Member, Team
from services.billing.subscriptions import Advance, Policy, StartSubscription, stream_of, subscriptions
from shared.bus import wire
from shared.bus.host import ServiceHost
from shared.bus.messages import to_message
from shared.bus.open import open_transport
from shared.context import Context
from shared.errors import NotFound, Unavailable
from shared.events import billing as b
from shared.events.contracts import CONTRACTS
from shared.events.orgs import AccountForgotten
from shared.mail.letters import Letter
from shared.mail.postman import Several
from shared.runtime import Owner, Runtime
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import Position, Recorded
from shared.streams import Streams
from tests.billing.timelines import ORG, Timeline, card, instants, member

MARCH = instants("2026-03-02T00:00:00Z")
ADA, BOB, CAT = member(1), member(2), member(3)
TEAM = (
    Member(ADA, "ada@example.com", "administrator"),
    Member(BOB, "bob@example.com", "owner"),
    Member(CAT, "cat@example.com", "support"),
)


@dataclass
class Store:
    """Has one stream."""

    events: list[Recorded] = field(default_factory=list)

    def read(self, stream: str, *_: Any) -> list[Recorded]:
        return self.events


def history(*steps: dict[str, Any], until: str) -> Store:
    timeline = Timeline()
    for step in ({"at": MARCH.isoformat(), "do": "start", "card": "declines"}, *steps):
        timeline.do(step)
    timeline.until(instants(until))
    store, context = Store(), Context.new("system", "test", uuid4())
    for n, (_, event) in enumerate(timeline.every):
        new = CONTRACTS.encode(event, n, context)
        store.events.append(Recorded(new.id, new.type, stream_of(ORG), n, Position(n + 1), MARCH, new.data, new.meta))
    return store


def mailing(store: Store, members: tuple[Member, ...] = TEAM, trouble: Exception | None = None) -> Mailing:
    def team(org_id: str, position: Position, person: str | None) -> Team:
        if trouble is not None:
            raise trouble
        return Team("Acme", "acme", tuple(one for one in members if person in (None, one.account_id)))

    return Mailing(Streams(store, CONTRACTS), Policy(), team, "https://fleet.example/")  # type: ignore[arg-type]


def of(store: Store, kind: type) -> Recorded:
    return next(one for one in store.events if one.type == kind.__name__)


def test_what_is_for_everybody_goes_to_everybody_and_the_rest_to_whoever_manages_billing() -> None:
    store = history(until="2026-04-09T00:00:00Z")
    made = mailing(store)
    assert made.compose(of(store, b.SubscriptionStarted)) == Several((ADA, BOB))
    for kind in (b.PaymentFailed, b.AccountLocked):
        assert made.compose(of(store, kind)) == Several((ADA, BOB, CAT))
    assert made.compose(of(store, b.ChargeRequested)) == "over"


def test_a_letter_is_for_one_of_them_with_a_link_to_their_organization() -> None:
    store = history(until="2026-04-09T00:00:00Z")
    letter = mailing(store).compose(of(store, b.PaymentFailed), CAT)
    assert isinstance(letter, Letter)
    assert (letter.to, letter.template, letter.persons) == ("cat@example.com", "payment_failed", (CAT,))
    assert letter.fields["link"] == "https://fleet.example/orgs/acme/billing/card"


@pytest.mark.parametrize("role", [None, "support"], ids=["left", "has another role"])
def test_nobody_is_told_who_is_in_the_team_no_more_or_manages_billing_no_more(role: str | None) -> None:
    store = history(until="2026-03-09T00:00:00Z")
    left = (TEAM[0],) if role is None else (TEAM[0], Member(BOB, "bob@example.com", role))
    assert mailing(store, left).compose(of(store, b.SubscriptionStarted), BOB) == "forgotten"


def test_an_organization_that_is_not_there_is_told_of_nothing_and_a_silent_service_is_asked_again() -> None:
    store = history(until="2026-03-09T00:00:00Z")
    started = of(store, b.SubscriptionStarted)
    assert mailing(store, ()).compose(started) == "forgotten"
    assert mailing(store, trouble=NotFound("Organization not found.")).compose(started) == "over"
    with pytest.raises(Unavailable):
        mailing(store, trouble=Unavailable("orgs")).compose(started)


# -- the service


class Orgs:
    """The service of that name, as far as it is asked for addresses."""

    name = "orgs"
    down = threading.Event()

    @rpc(expected_exceptions=Unavailable)
    def team_addresses(self, org_id: str, account_id: str | None = None) -> dict[str, Any]:
        if self.down.is_set():
            raise Unavailable("orgs is away")
        wanted = [one for one in TEAM if account_id in (None, one.account_id)]
        members = [{"account_id": one.account_id, "email": one.email, "role": one.role} for one in wanted]
        return {"organization": {"name": "Acme", "slug": "acme"}, "members": members}


@dataclass
class Running:
    settings: Settings
    store: Any
    transport: Any

    @property
    def folder(self) -> Path:
        return Path(self.settings.mail)

    def handle(self, command: Any) -> None:
        context = Context.new("system:test", "test", uuid4())
        Streams(self.store, CONTRACTS).handle(subscriptions(Policy()), stream_of(ORG), command, context)

    def written(self, number: int) -> list[tuple[str, str]]:
        """To whom, and about what, once so many are there."""
        pause = threading.Event()
        for _ in range(400):
            if len(list(self.folder.glob("*.eml"))) >= number:
                break
            pause.wait(0.02)
        read = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in self.folder.glob("*.eml")]
        return sorted((message["To"], message["Subject"]) for message in read)


@pytest.fixture
def running(tmp_path: Path, views_url: str) -> Iterator[Running]:
    settings = Settings.load({}, data=tmp_path, db=views_url, url="https://fleet.example", payments="off:")
    store, transport = open_store(settings.store), open_transport("local:", name="test")
    parts = [transport, ServiceHost(Orgs, transport, workers=1), build(settings, transport, store)]
    runtime = Runtime("test", [Owner("event store", store.close), *parts])
    runtime.start()
    yield Running(settings, store, transport)
    runtime.stop()


def test_each_member_gets_each_mail_once_however_often_it_is_heard_of(running: Running) -> None:
    running.handle(StartSubscription(ORG, "monthly", ADA, "cus_1", card("ok"), MARCH))
    started = "The trial of Acme has begun"
    assert running.written(2) == [("ada@example.com", started), ("bob@example.com", started)]
    (event,) = running.store.read(stream_of(ORG))
    for _ in range(2):
        running.transport.publish("billing", event.type, to_wire_body(event), {}, handled=True).result(10)
    running.handle(Advance(instants("2026-03-26T00:00:00Z")))
    ending = "The trial of Acme ends on 01 April 2026"
    assert running.written(4) == sorted(
        (to, what) for to in ("ada@example.com", "bob@example.com") for what in (started, ending)
    )


def to_wire_body(event: Recorded) -> bytes:
    return wire.encode(to_message(event))


def test_mail_of_whoever_is_forgotten_is_removed(running: Running) -> None:  # EVT-5
    running.handle(StartSubscription(ORG, "monthly", ADA, "cus_1", card("ok"), MARCH))
    assert len(running.written(2)) == 2
    new = CONTRACTS.encode(AccountForgotten(ADA), 0, Context.new("system", "test", uuid4()))
    gone = Recorded(new.id, new.type, f"account-{ADA}", 1, Position(99), MARCH, new.data, new.meta)
    running.transport.publish("orgs", gone.type, to_wire_body(gone), {}, handled=True).result(10)
    assert [to for to, _ in running.written(1)] == ["bob@example.com"]
