"""The calls and reactions of the service, over a real store and real views, with a provider in memory and no bus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from nameko.testing.services import worker_factory

from services.billing.charger import Charger
from services.billing.clock import BillingClock
from services.billing.drafts import DRAFTS, ExpireDraft, UseDraft
from services.billing.dues import DRAFT_PREFIX, Dues
from services.billing.payments import OFF, BrowserPayments, Payments
from services.billing.provider import Provider
from services.billing.service import BillingService
from services.billing.standing import Subscription
from services.billing.subscriptions import Advance, Policy, stream_of, subscriptions
from services.billing.views import VIEWS
from shared.bus.messages import to_message
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.orgs import EmailChanged, MemberJoined, MemberRemoved, OrganizationCreated
from shared.mail.queue import MailQueue
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.store.open import open_store
from shared.store.port import NO_STREAM, EventStore, Recorded, StreamNotFound
from shared.streams import Streams
from tests.billing.card_provider import CardProvider
from tests.keys import contracts_with_keys

ORG, ADA, BOB = "b" * 24, "a" * 24, "c" * 24
BROWSER = BrowserPayments("pk_1", "https://pay.example/script", "https://pay.example")


@dataclass
class Desk:
    """The service, one call at a time; ``ahead`` moves the machine's clock."""

    store: EventStore
    database: Database
    provider: CardProvider | None
    ahead: timedelta = timedelta()
    org: str = ORG
    version: int = -1

    def __post_init__(self) -> None:
        self.streams = Streams(self.store, CONTRACTS)
        self.policy = Policy(is_billed=self.provider is not None)
        self.clock = BillingClock(self.streams, lambda: datetime.now(UTC) + self.ahead)
        self.mails = MailQueue(self.database, self.clock)
        self.projector = Projector("billing", self.store, self.database, VIEWS, CONTRACTS)

    def worker(self, context: Context | None = None) -> Any:
        self.projector.catch_up()
        made = context or Context.new("account:" + ADA, "test", uuid4())
        provider = cast(Provider, self.provider)
        payments = OFF if self.provider is None else Payments(provider, is_sandbox=True, is_live=False, browser=BROWSER)
        return worker_factory(
            BillingService,
            streams=WorkerStreams(self.streams, made, CONTRACTS),
            views=WorkerViews(self.database, None, made),
            payments=payments,
            policy=self.policy,
            billing_clock=self.clock,
            charger=None if self.provider is None else self.charger,
            mails=self.mails,
        )

    @property
    def charger(self) -> Charger:
        return Charger(self.streams, cast(Provider, self.provider), self.policy, self.clock)

    def ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        return getattr(self.worker(), method)(*arguments, **named)

    def refusal(self, method: str, *arguments: Any) -> str:
        with pytest.raises(Refused) as refused:
            self.ask(method, *arguments)
        return refused.value.code

    def hears(self, method: str, message: Any) -> None:
        getattr(self.worker(), method)(message)

    def happens(self, *events: Any) -> list[dict[str, Any]]:
        """In the organization's stream; what the relay would tell of it."""
        stream = f"org-{self.org}"
        new = [contracts_with_keys().encode(event, n, Context.new("x", "test")) for n, event in enumerate(events)]
        self.version = self.store.append(stream, NO_STREAM if self.version < 0 else self.version, new).version
        return [to_message(event) for event in self.store.read(stream, self.version - len(events) + 1)]

    def founds(self) -> list[dict[str, Any]]:
        created = OrganizationCreated(self.org, "Acme", "acme", "monthly", ADA, "ada@example.com")
        return self.happens(created, MemberJoined(self.org, ADA, "ada@example.com", "administrator"))

    def saved_card(self, kind: str = "ok") -> str:
        """The set-up of a card that a member has given to the provider."""
        assert self.provider is not None
        setup_id: str = self.ask("begin_card_setup", self.org)["card_setup"]["setup_id"]
        self.provider.gives_card(setup_id, kind)
        return setup_id

    def paying(self, kind: str = "ok") -> None:
        """The organization, with a card."""
        for message in self.founds():
            self.hears("start_trial", message)
        self.ask("finish_card_setup", ORG, self.saved_card(kind))

    def passes(self, days: int) -> Subscription:
        """Time, with what the worker does in it."""
        aggregate = subscriptions(self.policy)
        for _ in range(days):
            self.ahead += timedelta(days=1)
            self.streams.handle(aggregate, stream_of(self.org), Advance(self.clock.now()), Context.new("x", "test"))
            self.charger.settle(self.org)
        return self.streams.load(aggregate, stream_of(self.org)).state

    def lapses(self) -> None:
        """What the worker does to drafts whose time is over."""
        dues = Dues(self.database, self.streams, self.policy, CONTRACTS.of_service("billing"))
        dues.prepare()
        dues.begin()
        dues.follow()
        for _, stream in dues.until(self.clock.now()):
            if stream.startswith(DRAFT_PREFIX):
                self.streams.handle(DRAFTS, stream, ExpireDraft(self.clock.now()), Context.new("x", "test"))

    def types(self, stream: str) -> list[str]:
        try:
            return [event.type for event in self.store.read(stream)]
        except StreamNotFound:
            return []

    def messages(self, stream: str, kind: str) -> list[dict[str, Any]]:
        return [to_message(event) for event in self.store.read(stream) if event.type == kind]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    yield from _desk(tmp_path, CardProvider())


@pytest.fixture
def unbilled(tmp_path: Path) -> Iterator[Desk]:
    yield from _desk(tmp_path, None)


def _desk(folder: Path, provider: CardProvider | None) -> Iterator[Desk]:
    store = open_store(f"sqlite:///{folder / 'events.db'}?durability=normal")
    database = Database(f"sqlite:///{folder / 'views'}", "billing")
    yield Desk(store, database, provider)
    database.close()
    store.close()


# drafts


def begun(desk: Desk, kind: str | None = "ok", account_id: str = ADA) -> tuple[str, str]:
    """A draft, with a card that was given for it, if of any kind; its id, and the set-up."""
    assert desk.provider is not None
    draft = desk.ask("begin_draft", account_id)
    setup_id = draft["card_setup"]["setup_id"]
    if kind is not None:
        desk.provider.gives_card(setup_id, kind)
    return draft["draft_id"], setup_id


def test_a_draft_has_what_the_form_of_the_provider_needs(desk: Desk) -> None:  # ORG-1, contract 13.2
    draft = desk.ask("begin_draft", ADA)
    setup_id = draft["card_setup"]["setup_id"]
    assert draft["card_setup"] == {
        "setup_id": setup_id,
        "client_secret": f"{setup_id}_secret",
        "publishable_key": "pk_1",
        "script_url": "https://pay.example/script",
        "api_url": "https://pay.example",
    }


def test_a_draft_is_finished_by_whoever_began_it_with_a_card(desk: Desk) -> None:
    draft_id, setup_id = begun(desk, None)
    assert desk.refusal("finish_draft", draft_id, ADA, setup_id) == "card_required"
    assert desk.provider is not None
    desk.provider.gives_card(setup_id)
    for wrong in ((draft_id, BOB, setup_id), ("f" * 24, ADA, setup_id), (None, ADA, None), (draft_id, ADA, "x" * 999)):
        assert desk.refusal("finish_draft", *wrong) == "card_required"
    for _ in range(2):  # an answer that was lost
        assert desk.ask("finish_draft", draft_id, ADA, setup_id)["org_id"] == draft_id
    assert desk.types(f"draft-{draft_id}") == ["OrganizationDrafted", "DraftCardSaved"]


def test_an_organization_of_a_draft_begins_with_its_card(desk: Desk) -> None:  # BIL-1
    desk.org, setup_id = begun(desk)
    desk.ask("finish_draft", desk.org, ADA, setup_id)
    told = desk.founds()
    for message in (*told, *told):
        desk.hears("start_trial" if message["type"] == "OrganizationCreated" else "add_seat", message)
    assert desk.types(stream_of(desk.org)) == ["SubscriptionStarted"]
    summary = desk.ask("summary", desk.org)["summary"]
    assert (summary["state"], summary["seats"], summary["card"]["last4"]) == ("trialing", 1, "4242")
    assert desk.ask("finish_draft", desk.org, ADA, setup_id)["org_id"] == desk.org  # repeated late
    desk.ahead = timedelta(days=9)
    desk.lapses()
    assert desk.types(f"draft-{desk.org}")[-1] == "DraftUsed"


def test_a_process_that_dies_with_the_draft_used_leaves_a_subscription_with_its_card(desk: Desk) -> None:
    desk.org, setup_id = begun(desk)
    desk.ask("finish_draft", desk.org, ADA, setup_id)
    desk.streams.handle(DRAFTS, f"draft-{desk.org}", UseDraft(), Context.new("x", "test"))
    desk.founds()
    assert desk.ask("summary", desk.org)["summary"]["card"]["last4"] == "4242"


def test_an_organization_that_is_heard_of_when_its_draft_has_lapsed_begins_without_a_card(desk: Desk) -> None:
    desk.org, setup_id = begun(desk)
    desk.ask("finish_draft", desk.org, ADA, setup_id)
    desk.ahead = timedelta(days=3)
    desk.lapses()
    desk.founds()
    summary = desk.ask("summary", desk.org)["summary"]
    assert (summary["state"], summary["card"]) == ("trialing", None)


def test_a_draft_takes_its_customer_with_it_after_24_hours(desk: Desk) -> None:
    assert desk.provider is not None
    draft_id, _ = begun(desk, None)
    desk.lapses()
    assert desk.provider.customers
    desk.ahead = timedelta(hours=24, minutes=1)
    desk.lapses()
    (expired,) = desk.messages(f"draft-{draft_id}", "DraftExpired")
    for _ in range(2):
        desk.hears("forget_customer", expired)
    assert not desk.provider.customers
    assert begun(desk)[0] != draft_id


def test_whoever_has_a_young_draft_gets_it_again_and_members_get_none(desk: Desk) -> None:
    first, second = (desk.ask("begin_draft", ADA) for _ in range(2))
    assert (first["draft_id"], first["expires_at"]) == (second["draft_id"], second["expires_at"])
    assert first["card_setup"]["setup_id"] != second["card_setup"]["setup_id"]
    assert desk.ask("begin_draft", BOB)["draft_id"] != first["draft_id"]
    desk.founds()
    assert desk.refusal("begin_draft", ADA) == "already_in_organization"


# mail


def test_a_member_whose_mail_server_refuses_mail_is_told_of_until_one_arrives_or_the_address_is_another(
    desk: Desk,
) -> None:
    desk.paying()
    desk.happens(MemberJoined(ORG, BOB, "bob@example.com", "administrator"))
    desk.worker()
    desk.mails.prepare()
    (started, replaced) = desk.store.read(stream_of(ORG))[-2:]

    def ends(event: Recorded, error: str) -> None:
        desk.mails.add(event)
        entry = desk.mails.take()
        while entry is not None:
            if entry.person is None:
                desk.mails.address(entry, (ADA, BOB))
            else:
                desk.mails.done(entry, "parked" if error and entry.person == BOB else "sent", error)
            entry = desk.mails.take()

    ends(started, "550 no such mailbox")
    (refused,) = desk.ask("unreachable", ORG)["unreachable"]
    assert refused["user_id"] == BOB
    ends(replaced, "")
    assert desk.ask("unreachable", ORG)["unreachable"] == []
    desk.mails.again(f"{replaced.id}-{BOB}")
    ends(replaced, "550 no such mailbox")
    assert desk.ask("unreachable", ORG)["unreachable"] == [refused]
    new = contracts_with_keys().encode(EmailChanged(BOB, "new@example.com"), 0, Context.new("x", "test"))
    desk.store.append(f"account-{BOB}", NO_STREAM, [new])
    assert desk.ask("unreachable", ORG)["unreachable"] == []


# seats


def test_seats_follow_the_team_however_its_events_overtake_each_other(desk: Desk) -> None:  # ORG-4, CAL-5
    desk.founds()
    joined, left, again, other = desk.happens(
        MemberJoined(ORG, BOB, "bob@example.com", "administrator"),
        MemberRemoved(ORG, BOB, "left"),
        MemberJoined(ORG, BOB, "bob@example.com", "administrator"),
        MemberRemoved(ORG, ADA, "left"),
    )
    for message in (left, other, again, joined, left, again):
        desk.hears("remove_seat" if message["type"] == "MemberRemoved" else "add_seat", message)
    seats = ["SeatAdded", "SeatAdded", "SeatRemoved", "SeatAdded", "SeatRemoved"]
    assert desk.types(stream_of(ORG)) == ["TrialStarted", *seats]
    subscribed = desk.streams.load(subscriptions(desk.policy), stream_of(ORG))
    assert subscribed.state.members == {BOB}
    joined_at = datetime.fromisoformat(joined["at"]).replace(microsecond=0)
    assert desk.streams.contracts.decode(subscribed.recorded[2]).at == joined_at


def test_a_founder_with_a_card_who_has_left_has_no_seat_whatever_is_told_again(desk: Desk) -> None:
    desk.org, setup_id = begun(desk)
    desk.ask("finish_draft", desk.org, ADA, setup_id)
    told = desk.founds()
    told += desk.happens(MemberJoined(desk.org, BOB, "bob@example.com", "administrator"))
    told += desk.happens(MemberRemoved(desk.org, ADA, "left"))
    for message in (*told, *told):
        desk.hears("add_seat", message)
    assert desk.types(stream_of(desk.org)) == ["SubscriptionStarted", "SeatAdded", "SeatRemoved"]


def test_whoever_has_seen_a_member_join_sees_the_seat(desk: Desk) -> None:
    desk.founds()
    desk.happens(MemberJoined(ORG, BOB, "bob@example.com", "administrator"))
    assert desk.ask("summary", ORG)["summary"]["seats"] == 2  # nothing was heard yet


# cards


def test_an_organization_without_a_card_is_given_one_and_a_replaced_one_is_forgotten(desk: Desk) -> None:  # BIL-6
    assert desk.provider is not None
    desk.paying()
    (first,) = desk.provider.kept
    assert desk.types(stream_of(ORG)) == ["TrialStarted", "SeatAdded", "CustomerRegistered", "CardReplaced"]
    desk.ask("finish_card_setup", ORG, desk.saved_card())
    for message in desk.messages(stream_of(ORG), "CardReplaced"):
        desk.hears("forget_replaced_card", message)
    assert len(desk.provider.kept) == 1
    assert first not in desk.provider.kept


def test_a_set_up_that_did_not_end_with_a_card_of_theirs_leaves_the_old_one(desk: Desk) -> None:
    desk.paying()
    _, foreign = begun(desk, account_id=BOB)
    unfinished = desk.ask("begin_card_setup", ORG)["card_setup"]["setup_id"]
    before = desk.types(stream_of(ORG))
    for setup_id in (foreign, unfinished, "seti_of_nobody", "", None, 7):
        assert desk.refusal("finish_card_setup", ORG, setup_id) == "card_required"
    assert desk.types(stream_of(ORG)) == before


def test_a_provider_that_is_down_changes_nothing(desk: Desk) -> None:
    assert desk.provider is not None
    desk.paying()
    setup_id, before = desk.saved_card(), desk.types(stream_of(ORG))
    desk.provider.is_down = True
    assert desk.refusal("begin_card_setup", ORG) == "provider_unavailable"
    assert desk.refusal("finish_card_setup", ORG, setup_id) == "provider_unavailable"
    assert desk.refusal("begin_draft", BOB) == "provider_unavailable"
    assert desk.types(stream_of(ORG)) == before


def test_a_failed_invoice_is_charged_at_once_when_the_card_is_replaced(desk: Desk) -> None:
    desk.paying("declines")
    assert desk.passes(31).standing == "past_due"
    answer = desk.ask("finish_card_setup", ORG, desk.saved_card())
    assert (answer["summary"]["state"], answer["summary"]["attempts_left"]) == ("active", 3)
    invoice = desk.ask("invoice", ORG, 1)["invoice"]
    assert (invoice["status"], [one["result"] for one in invoice["attempts"]]) == ("paid", ["failed", "succeeded"])
    assert [one["code"] for one in invoice["attempts"]] == ["card_declined", None]


def test_a_member_confirms_with_the_bank_and_may_ask_again_how(desk: Desk) -> None:
    assert desk.provider is not None
    desk.paying("needs_authentication")
    assert desk.passes(31).standing == "past_due"
    first, second = (desk.ask("begin_authentication", ORG) for _ in range(2))
    assert first == second
    assert first["client_secret"].endswith("_secret")
    desk.provider.confirmed_by_member(first["client_secret"].removesuffix("_secret"))
    assert desk.charger.settle(ORG).standing == "active"
    assert desk.refusal("begin_authentication", ORG) == "nothing_to_authenticate"


# plan, end, and new beginning


def test_whoever_cancels_has_access_to_the_end_and_may_take_it_back(desk: Desk) -> None:  # BIL-4, BIL-5
    desk.paying()
    answer = desk.ask("cancel", ORG)
    assert answer["ends_at"] == answer["summary"]["cancel_at"] == answer["summary"]["trial_ends_at"]
    assert desk.ask("cancel", ORG)["ends_at"] == answer["ends_at"]
    back = desk.ask("reactivate", ORG)
    assert (back["known"], back["summary"]["cancel_at"]) == (True, None)
    assert desk.refusal("reactivate", ORG) == "not_cancelled"
    assert desk.ask("switch_plan", ORG, "yearly")["summary"]["price_cents"] == 58_800
    assert desk.refusal("switch_plan", ORG, "weekly") == "unknown_plan"


def test_an_inactive_organization_comes_back_with_a_card_that_can_be_charged(desk: Desk) -> None:  # BIL-5
    assert desk.provider is not None
    desk.paying()
    desk.ask("cancel", ORG)
    assert desk.passes(31).standing == "inactive"
    assert desk.ask("access", ORG) == {"access": "billing_only"}
    assert desk.refusal("reactivate", ORG) == "card_required"
    assert desk.refusal("reactivate", ORG, desk.saved_card("declines")) == "card_declined"
    assert desk.ask("summary", ORG)["summary"]["state"] == "inactive"
    setup_id = desk.saved_card()
    context = Context.new("account:" + ADA, "test", uuid4())
    for _ in range(2):  # an answer that was lost
        answer = desk.worker(context).reactivate(ORG, setup_id)
        assert (answer["known"], answer["summary"]["state"]) == (True, "active")
    page = desk.ask("invoices", ORG)
    assert [(one["number"], one["status"]) for one in page["invoices"]] == [(2, "paid"), (1, "void")]
    assert page["meta"] == {"page": 1, "per_page": 25, "total": 2, "total_pages": 1}
    assert desk.ask("access", ORG) == {"access": "full"}


def test_a_card_for_a_new_beginning_is_taken_before_the_worker_has_seen_the_end(desk: Desk) -> None:
    desk.paying()
    desk.ask("cancel", ORG)
    desk.ahead = timedelta(days=31)
    assert desk.ask("reactivate", ORG, desk.saved_card())["summary"]["state"] == "active"


def test_a_new_beginning_whose_charge_is_not_known_yet_says_so(desk: Desk) -> None:
    assert desk.provider is not None
    desk.paying()
    desk.ask("cancel", ORG)
    desk.passes(31)
    setup_id = desk.saved_card()
    desk.provider.faults = {desk.provider.calls: "lost_before"}  # it cannot be prepared now
    answer = desk.ask("reactivate", ORG, setup_id)
    assert (answer["known"], answer["summary"]["state"]) == (False, "inactive")
    assert desk.refusal("reactivate", ORG, setup_id) == "charge_in_progress"
    desk.ahead += timedelta(minutes=1)
    assert desk.charger.settle(ORG).standing == "active"


# nobody is billed


def test_where_nobody_is_billed_organizations_need_no_card_and_nothing_ends(unbilled: Desk) -> None:
    assert unbilled.ask("finish_draft", None, ADA, None) == {"org_id": None, "position": None}
    unbilled.founds()
    unbilled.ahead = timedelta(days=400)
    summary = unbilled.ask("summary", ORG)["summary"]
    assert (summary["state"], summary["seats"], summary["sandbox"]) == ("trialing", 1, False)
    calls = [("begin_draft", BOB), ("begin_card_setup", ORG), ("finish_card_setup", ORG, "seti_1"), ("cancel", ORG)]
    calls += [("reactivate", ORG), ("switch_plan", ORG, "yearly"), ("begin_authentication", ORG)]
    for method, *arguments in calls:
        assert unbilled.refusal(method, *arguments) == "payments_off"


@pytest.mark.parametrize("org_id", ["f" * 24, "", "x" * 10_000, None, 7])
def test_nobody_has_a_subscription(desk: Desk, org_id: Any) -> None:
    for method in ("subscription", "summary", "access", "preview", "cancel", "begin_card_setup"):
        with pytest.raises(NotFound):
            desk.ask(method, org_id)
    with pytest.raises(NotFound):
        desk.ask("invoice", org_id, 1)


def test_pages_of_invoices_are_bounded(desk: Desk) -> None:
    for page, per_page in ((0, 25), (1, 0), (1, 1_001), (True, 25), ("1", 25)):
        assert desk.refusal("invoices", ORG, page, per_page) == "invalid_request"
