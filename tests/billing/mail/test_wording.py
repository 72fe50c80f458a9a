"""What letters about a subscription say: every mail of every example and of generated lives can be written, and each
template says what the billing specification asks of it."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings

from services.billing.mail.mail_reactions import MailReactions
from services.billing.mail.wording import CARD_PAGE, CONFIRMATION, MOST_LINES, PAGE, Told, dollars, told
from services.billing.mails import TOLD
from services.billing.standing import Event
from services.billing.subscriptions import Policy
from shared.bus.reactions import reaction_of
from shared.events import billing as b
from shared.mail.letters import Letter, Letters
from shared.store.port import Position, Recorded
from tests.billing.test_examples import VECTORS, policy_of
from tests.billing.test_properties import LIVES, POLICIES, START, Life
from tests.billing.timelines import ORG, Timeline, instants

LETTERS = Letters("services.billing.mail", "letters", "Flotilla <no-reply@fleet.example>")
RECORDED = Recorded(UUID(int=1), "X", f"subscription-{ORG}", 0, Position(1), START, b"{}", b"{}")
BEGINNING = {"at": "2026-03-02T00:00:00Z", "do": "start"}


def written(what: Told) -> tuple[str, str]:
    """Subject, and the text on one line."""
    link = f"https://fleet.example/orgs/acme/{what.page}"
    fields = {**what.fields, "organization": "Acme", "link": link}
    message = LETTERS.write(Letter("a" * 24, "ada@example.com", what.template, fields, None, what.button), RECORDED)
    body = message.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert link in text
    return str(message["Subject"]), " ".join(text.split())


def mails(timeline: Timeline, policy: Policy | None = None) -> list[tuple[Event, Told]]:
    found = ((event, told(policy or timeline.policy, before, event)) for before, event in timeline.every)
    return [(event, what) for event, what in found if what is not None]


def lived(*steps: dict[str, Any], until: str, plan: str = "monthly", card: str = "ok") -> Timeline:
    timeline = Timeline()
    for step in ({**BEGINNING, "plan": plan, "card": card}, *steps):
        timeline.do(step)
    timeline.until(instants(until))
    return timeline


def letter(timeline: Timeline, template: str, number: int = 0) -> tuple[str, str]:
    return written([what for _, what in mails(timeline) if what.template == template][number])


@pytest.mark.skipif(not VECTORS, reason="the specification's examples are not there")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_every_mail_of_an_example_can_be_written(vector: dict[str, Any]) -> None:
    timeline = Timeline(policy_of(vector))
    for step in vector["timeline"]:
        timeline.do(step)
    timeline.until(instants(vector["until"]))
    for _, what in mails(timeline):
        written(what)


@settings(max_examples=25)
@given(LIVES, POLICIES)
def test_every_mail_of_any_life_can_be_written(life: Life, policy: Policy) -> None:
    for _, what in mails(life.lived(policy)):
        written(what)


def test_each_event_that_people_are_told_of_has_its_reaction() -> None:
    methods = inspect.getmembers(MailReactions, inspect.isfunction)
    heard = {
        entrypoint.event_type
        for name, function in methods
        if reaction_of(MailReactions, name) == "mail"
        for entrypoint in function.nameko_entrypoints
    }
    assert heard == {event.__name__ for event in TOLD}


# -- what each says


def test_the_beginning_says_when_and_how_much_is_charged_first() -> None:
    subject, text = letter(lived(until="2026-03-03T00:00:00Z"), "trial_started")
    assert "01 April 2026" in text
    assert "49.00 USD are charged to the Visa card ending in 4242" in text
    assert subject == "The trial of Acme has begun"


def test_the_end_of_the_trial_is_told_with_the_amount_of_the_team_as_it_is() -> None:
    step = {"at": "2026-03-05T00:00:00Z", "do": "add_member"}
    subject, text = letter(lived(step, until="2026-03-26T00:00:00Z"), "trial_ending")
    assert subject == "The trial of Acme ends on 01 April 2026"
    assert "98.00 USD" in text
    assert "2 members, monthly" in text


def test_a_renewal_says_the_lines_that_are_pending() -> None:  # yearly 2026/27, 1 to 2 seats inside it
    step = {"at": "2026-04-11T00:00:00Z", "do": "add_member"}
    subject, text = letter(lived(step, until="2027-03-20T00:00:00Z", plan="yearly"), "renewal_upcoming")
    assert subject == "Acme renews on 01 April 2027"
    assert "Remaining time of 2 seats, yearly, 2026-04-11 to 2027-04-01: 1,143.78 USD" in text


def test_a_receipt_says_lines_period_card_and_invoice() -> None:
    step = {"at": "2026-04-16T00:00:00Z", "do": "add_member"}
    subject, text = letter(lived(step, until="2026-05-02T00:00:00Z"), "payment_receipt", 1)
    assert subject == "Receipt: 122.50 USD for Acme"
    for part in (
        "invoice 2 of Acme, for 01 May 2026 to 01 June 2026",
        "Visa card ending in 4242 on 01 May 2026",
        "2 seats, monthly, 2026-05-01 to 2026-06-01: 98.00 USD",
        "Unused time of 1 seat, monthly, 2026-04-16 to 2026-05-01: -24.50 USD",
        "Remaining time of 2 seats, monthly, 2026-04-16 to 2026-05-01: 49.00 USD",
        "Total: 122.50 USD",
    ):
        assert part in text


def test_an_invoice_that_is_settled_says_what_is_carried() -> None:
    step = {"at": "2026-03-05T00:00:00Z", "do": "credit", "cents": 6_000}
    _, text = letter(lived(step, until="2026-04-02T00:00:00Z"), "invoice_settled")
    assert "comes to -11.00 USD, so nothing was charged" in text
    assert "Credit of 2026-03-05: -60.00 USD" in text
    assert "What is left, -11.00 USD, is part of the next invoice." in text


def test_a_failure_says_which_attempt_of_how_many_why_and_when_the_next_is() -> None:
    timeline = lived(until="2026-04-09T00:00:00Z", card="declines")
    first, last = letter(timeline, "payment_failed", 0)[1], letter(timeline, "payment_failed", 2)[1]
    assert "attempt 1 of 3" in first
    assert "the bank declined it (card_declined)" in first
    assert "It is tried again on 04 April 2026." in first
    assert "attempt 3 of 3, the last one" in last
    assert "tried again" not in last
    assert [what.page for _, what in mails(timeline) if what.template == "payment_failed"] == [CARD_PAGE] * 3


def test_a_failure_that_does_not_count_says_so() -> None:  # BIL-3a
    step = {"at": "2026-04-02T00:00:00Z", "do": "replace_card", "card": "stolen"}
    text = letter(lived(step, until="2026-04-03T00:00:00Z", card="declines"), "payment_failed", 1)[1]
    assert "This attempt does not count towards the 3" in text
    assert "the bank has blocked the card" in text


def test_a_bank_that_wants_a_confirmation_is_told_with_a_button_for_it() -> None:
    timeline = lived(until="2026-04-02T00:00:00Z", card="needs_authentication")
    what = next(what for _, what in mails(timeline) if what.template == "payment_action_required")
    assert what.page == CONFIRMATION
    assert (what.button, what.for_all) == ("Confirm with the bank", True)
    assert "confirm the payment of 49.00 USD for invoice 1" in written(what)[1]


def test_a_lock_says_what_stays_and_how_to_get_back() -> None:  # BIL-7
    _, text = letter(lived(until="2026-04-09T00:00:00Z", card="declines"), "account_locked")
    assert "Nothing is deleted. Devices, their customers and updates under way go on as before." in text
    assert "re-activate the subscription with a card that works" in text


def test_an_end_that_was_wished_for_is_told_with_its_dates() -> None:
    steps = (
        {"at": "2026-04-10T00:00:00Z", "do": "cancel"},
        {"at": "2026-04-11T00:00:00Z", "do": "reactivate"},
        {"at": "2026-04-12T00:00:00Z", "do": "cancel"},
        {"at": "2026-06-12T00:00:00Z", "do": "reactivate", "card": "ok"},
    )
    timeline = lived(*steps, until="2026-06-13T00:00:00Z")
    assert letter(timeline, "subscription_cancelled")[0] == "Acme is cancelled, and ends on 01 May 2026"
    assert "the next payment, 49.00 USD, is on 01 May 2026" in letter(timeline, "cancellation_withdrawn")[1]
    assert "has ended on 01 May 2026" in letter(timeline, "subscription_ended")[1]
    back = letter(timeline, "subscription_reactivated")[1]
    assert "active from 12 June 2026 to 12 July 2026: 1 member, monthly" in back
    assert "49.00 USD were charged to the Visa card ending in 4242, for invoice 2" in back
    assert "payment_receipt" not in [
        what.template for event, what in mails(timeline) if event.at > START + timedelta(90)
    ]


def test_a_switch_says_until_when_is_paid_and_what_comes_then() -> None:  # PLN-1
    step = {"at": "2026-04-16T00:00:00Z", "do": "switch_plan", "plan": "yearly"}
    subject, text = letter(lived(step, until="2026-04-17T00:00:00Z"), "plan_switched")
    assert subject == "Acme changes to yearly billing"
    assert "Acme has paid until 01 May 2026. Yearly billing starts then, instead of monthly: 588.00 USD" in text


def test_a_new_card_says_when_it_is_charged() -> None:
    step = {"at": "2026-04-16T00:00:00Z", "do": "replace_card", "card": "ok"}
    assert (
        "The next payment, 49.00 USD, is on 01 May 2026."
        in letter(lived(step, until="2026-04-17T00:00:00Z"), "card_replaced")[1]
    )
    late = lived({**step, "at": "2026-04-02T00:00:00Z"}, until="2026-04-17T00:00:00Z", card="declines")
    assert "The open invoice 1 is charged to it at once." in letter(late, "card_replaced")[1]


def test_a_card_that_expires_is_told_with_its_last_day() -> None:
    card = b.Card("pm_1", "american_express", "0005", 6, 2026, "x")
    timeline = lived(until="2026-04-02T00:00:00Z")
    before = timeline.state
    event = b.CardExpiringSoon(ORG, before.at or START, "pm_1", instants("2026-07-01T00:00:00Z"))
    what = told(Policy(), replace(before, card=card), event)
    assert what is not None
    assert (
        "the American express card ending in 0005 that Acme is paid with is good until 30 June 2026" in written(what)[1]
    )


def test_only_ends_locks_and_failures_go_to_everybody() -> None:
    timeline = lived({"at": "2026-04-10T00:00:00Z", "do": "cancel"}, until="2026-05-02T00:00:00Z")
    assert [(what.template, what.for_all) for _, what in mails(timeline)] == [
        ("trial_started", False),
        ("trial_ending", False),
        ("payment_receipt", False),
        ("subscription_cancelled", False),
        ("subscription_ended", True),
    ]
    assert {what.page for _, what in mails(timeline)} == {PAGE}


def test_a_letter_has_room_for_any_invoice() -> None:  # MON-6 asks for ten thousand lines; a letter takes some
    timeline = lived(until="2026-04-02T00:00:00Z")
    before, event = next((state, one) for state, one in timeline.every if isinstance(one, b.PaymentSucceeded))
    assert before.invoice is not None
    line = before.invoice.lines[0]
    what = told(Policy(), replace(before, invoice=replace(before.invoice, lines=(line,) * 10_000)), event)
    assert what is not None
    assert f"{10_000 - MOST_LINES} more lines: {dollars((10_000 - MOST_LINES) * 4_900)}" in written(what)[1]


@pytest.mark.parametrize(
    ("cents", "shown"), [(0, "0.00 USD"), (7, "0.07 USD"), (-2_450, "-24.50 USD"), (123_456_789, "1,234,567.89 USD")]
)
def test_amounts_are_written_out(cents: int, shown: str) -> None:
    assert dollars(cents) == shown
