"""``flotilla billing`` on the data of a platform that is not running: lists, and what an operator does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from deploy.billing_words import happened
from deploy.cli import app
from services.billing.charger import Charger
from services.billing.clock import BillingClock
from services.billing.mails import TOLD
from services.billing.oversight import NoteReturn, NoteStray
from services.billing.provider import Provider
from services.billing.subscriptions import Command, Policy, stream_of, subscriptions
from shared.clock import system_clock
from shared.context import Context
from shared.errors import FlotillaError, NotFound, Refused, Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.orgs import OrganizationCreated
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import NO_STREAM
from shared.streams import Streams
from tests.billing.played_provider import PlayedProvider
from tests.billing.timelines import ORG, Timeline
from tests.keys import contracts_with_keys

NOW = system_clock().replace(microsecond=0)
STARTED = NOW - timedelta(days=30, hours=5)
"""The first invoice was due five hours ago."""


class Stored(Timeline):
    """A timeline whose commands run on a store."""

    def __init__(self, streams: Streams) -> None:
        super().__init__()
        self.streams = streams

    def run(self, command: Command) -> None:
        context = Context.new("system:billing", "test", uuid4())
        before = self.state
        handled = self.streams.handle(subscriptions(Policy()), stream_of(ORG), command, context)
        self.every += [(before, cast(Any, event)) for event in handled.events]
        self.state = handled.state


class Data:
    """A data folder with one organization, ``acme``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = open_store(Settings.load({}, data=path).store)
        self.streams = Streams(self.store, CONTRACTS)
        self.timeline = Stored(self.streams)
        created = OrganizationCreated(ORG, "Acme", "acme", "monthly", "a" * 24, "ada@example.com")
        context = Context.new("account:" + "a" * 24, "test", uuid4())
        self.store.append(f"org-{ORG}", NO_STREAM, [contracts_with_keys().encode(created, 0, context)])

    def live(self, card: str = "ok", *, outage: bool = False) -> None:
        if outage:
            self.timeline.outages.append((STARTED, NOW + timedelta(days=1)))
        self.timeline.do({"at": STARTED.isoformat(), "do": "start", "card": card})
        self.timeline.until(NOW)

    def run(self, *words: str, payments: str = "sandbox:") -> str:
        environment = {"FLOTILLA_PAYMENTS": payments}
        done = CliRunner(env=environment).invoke(app, ["billing", *words, "--data", str(self.path)])
        if isinstance(done.exception, FlotillaError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done.output

    def listed(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Data]:
    made = Data(tmp_path)
    yield made
    made.store.close()


def test_a_charge_that_cannot_be_made_is_listed_until_an_operator_has_it_tried(data: Data) -> None:  # GW-2
    data.live(outage=True)
    (found,) = data.listed("parked")
    assert (found["org_id"], found["kind"], found["number"], found["why"]) == (ORG, "charge", 1, "unreachable")
    assert found["tries"] > 3
    assert "acme" in data.run("parked")
    assert "attempt 1 is tried again now" in data.run("retry", "acme")
    assert "it is so already" in data.run("retry", ORG)
    state = data.streams.load(subscriptions(Policy()), stream_of(ORG)).state
    assert state.charge is not None
    assert state.charge.try_at <= system_clock()


def test_an_invoice_is_voided_after_a_question(data: Data) -> None:
    data.live(outage=True)
    asked = CliRunner(env={"FLOTILLA_PAYMENTS": "sandbox:"}).invoke(
        app, ["billing", "void", "acme", "1", "--data", str(data.path)], input="n\n"
    )
    assert (asked.exit_code, "nothing was done" in asked.output) == (1, True)
    assert "invoice 1 is void" in data.run("void", "acme", "1", "--yes")
    assert data.listed("parked") == []
    with pytest.raises(Refused, match="not_open"):
        data.run("void", "acme", "1", "--yes")


def test_a_refund_waits_until_the_provider_has_made_it_and_goes_back_once(data: Data) -> None:
    data.live()
    assert "refund 1 asked for: 9.00 USD of invoice 1" in data.run("refund", "acme", "1", "--amount", "9", "--yes")
    (found,) = data.listed("parked")
    assert (found["kind"], found["amount_cents"]) == ("refund", 900)
    provider = PlayedProvider({0: "lost_after"})
    charger = Charger(data.streams, cast(Provider, provider), Policy(), BillingClock(data.streams))
    for _ in range(3):
        charger.settle(ORG)
    assert [one.amount_cents for one in provider.returned.values()] == [900]
    assert data.listed("parked") == []
    assert "9.00 USD of pi_1_1 went back as re_0" in data.run("timeline", "acme")
    with pytest.raises(Refused, match="4000 cents can still be given back"):
        data.run("refund", "acme", "1", "--amount", "40.01", "--yes")


def test_a_credit_is_pending_and_the_timeline_says_who_granted_it(data: Data) -> None:
    data.live()
    assert "credit of 12.50 USD" in data.run("credit", "acme", "12.50", "--yes")
    events = data.listed("timeline", "acme")
    assert [event["actor"] for event in events if event["type"] == "CreditGranted"] == ["system:operator"]
    shown = data.run("timeline", ORG)
    assert "-12.50 USD pending" in shown
    assert "invoice 1 is paid: 49.00 USD" in shown


def test_strays_and_disputes_are_listed_the_newest_first(data: Data) -> None:
    data.live()
    data.timeline.run(NoteStray("pi_stray", 4_900, NOW))
    data.timeline.run(NoteReturn("dispute", "pi_1_1", "dp_1", 4_900, NOW))
    assert [(one["kind"], one["provider_ref"]) for one in data.listed("strays")] == [
        ("dispute", "pi_1_1"),
        ("stray", "pi_stray"),
    ]
    assert "pi_stray" in data.run("strays")


@pytest.mark.parametrize("words", [("timeline", "nobody"), ("retry", "f" * 24)], ids=["no slug", "no subscription"])
def test_an_organization_that_is_not_there_is_not_found(data: Data, words: tuple[str, ...]) -> None:
    with pytest.raises(NotFound):
        data.run(*words)


def test_the_clock_goes_forward_and_only_without_real_money(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"{NOW + timedelta(days=35):%Y-%m-%d}" in data.run("advance", "35d", payments="off:")
    ahead = BillingClock(data.streams).now() - system_clock()
    assert abs(ahead - timedelta(days=35)) < timedelta(minutes=1)
    with pytest.raises(Refused, match="clock_backwards"):
        data.run("advance", NOW.isoformat(), payments="off:")
    with pytest.raises(Refused, match="bad_time"):
        data.run("advance", "2027-01-31T12:00:00")
    monkeypatch.setenv("FLOTILLA_STRIPE_KEY", "sk_live_x")
    with pytest.raises(Refused, match="live_payments"):
        data.run("advance", "70d", payments="stripe:")


def test_a_move_of_the_clock_is_waited_for(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.billing_command.PATIENCE_S", 0.1)
    with pytest.raises(Unavailable, match="is the platform running"):
        data.run("advance", "35d")


def test_what_is_simulated_adds_up() -> None:
    words = ["billing", "simulate", "--organizations", "5", "--days", "90", "--twice"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "every cent is accounted for" in done.output
    assert "the streams are equal" in done.output


def test_every_event_of_a_subscription_has_words(data: Data) -> None:
    data.live("declines")
    for step in ("retry", "credit", "void"):
        data.timeline.do({"at": NOW.isoformat(), "do": step, "cents": 100})
    shown = [happened(CONTRACTS.decode(one)) for one in data.store.read(stream_of(ORG))]
    names = {kind.__name__ for kind in TOLD}
    assert not names & set(shown)
    assert all(" " in sentence for sentence in shown)
