"""The page of a subscription, what a change would come to, and the views, for subscriptions that have lived a while."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings

from services.billing.invoice_view import INVOICES, invoice_object
from services.billing.previewing import MOST_SEATS, preview
from services.billing.standing import Subscription
from services.billing.subscriptions import AddSeat, Policy, ReplaceCard, SwitchPlan
from services.billing.summary_object import line_object, summary_object
from services.billing.views import DRAFTS_VIEW, MEMBERSHIPS
from shared.errors import Refused
from shared.events import billing as b
from shared.events import drafts as d
from shared.events.orgs import MemberJoined, MemberRemoved
from shared.projections.folding import After, fold
from shared.projections.view import Key, Row, View
from shared.store.port import Position, Recorded
from tests.billing.test_properties import LIVES, Life
from tests.billing.timelines import ORG, Timeline, member

POLICY = Policy()
MARCH = datetime(2026, 3, 2, tzinfo=UTC)
ENVELOPE = Recorded(UUID(int=1), "X", "x", 0, Position(1), MARCH, b"{}", b"{}")
"""No fold here asks for it."""


def on(month: int, day: int, **time: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC) + timedelta(**time)


def lived(*steps: dict[str, Any], until: datetime, plan: str = "monthly", kind: str = "ok") -> Timeline:
    """Paid since 1 April, if the card is good."""
    timeline = Timeline()
    timeline.do({"at": MARCH.isoformat(), "do": "start", "plan": plan, "card": kind})
    for step in steps:
        timeline.do(step)
    timeline.until(until)
    return timeline


def summary(state: Subscription) -> dict[str, Any]:
    return summary_object(POLICY, state, is_sandbox=True)


def rows(view: View, events: Iterable[Any]) -> dict[Key, Row]:
    """What a view has after these events."""
    wanted = [event for event in events if isinstance(event, view.events)]
    parts, envelopes = view.divided(wanted, [ENVELOPE] * len(wanted))
    after: After = {}
    fold(view, zip(parts, envelopes, view.touched(parts, envelopes), strict=True), {}, after)
    return {key: row for key, row in after.items() if row is not None}


# the page


def test_the_page_of_a_trial_says_what_its_end_costs() -> None:  # BIL-1, contract 13.1
    shown = summary(lived(until=on(3, 10)).state)
    trial = {"starts_at": "2026-03-02T00:00:00.000Z", "ends_at": "2026-04-01T00:00:00.000Z"}
    first = {"kind": "period", "cents": 4_900, "description": "1 seat, monthly, 2026-04-01 to 2026-05-01"}
    assert shown == {
        "state": "trialing",
        "reason": None,
        "plan": "monthly",
        "seats": 1,
        "price_cents": 4_900,
        "currency": "usd",
        "trial_ends_at": trial["ends_at"],
        "period": trial,
        "cancel_at": None,
        "next_payment": {"due_at": trial["ends_at"], "lines": [first], "total_cents": 4_900},
        "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2099},
        "attempts_left": 3,
        "sandbox": True,
    }


def test_the_next_payment_has_what_changed_inside_the_period() -> None:  # BIL-2
    shown = summary(lived({"at": on(4, 16).isoformat(), "do": "add_member"}, until=on(4, 20)).state)
    assert (shown["state"], shown["seats"]) == ("active", 2)
    assert shown["period"] == {"starts_at": "2026-04-01T00:00:00.000Z", "ends_at": "2026-05-01T00:00:00.000Z"}
    lines = [(line["kind"], line["cents"]) for line in shown["next_payment"]["lines"]]
    assert lines == [("period", 9_800), ("unused", -2_450), ("remaining", 4_900)]
    assert shown["next_payment"]["total_cents"] == 12_250
    unused = shown["next_payment"]["lines"][1]
    assert unused["description"] == "Unused time of 1 seat, monthly, 2026-04-16 to 2026-05-01"


def test_attempts_are_counted_down_to_the_lock() -> None:  # BIL-3
    told = [summary(lived(until=on(4, day, hours=1), kind="declines").state) for day in (1, 4, 7)]
    assert [(one["state"], one["attempts_left"]) for one in told] == [("past_due", 2), ("past_due", 1), ("inactive", 0)]
    assert [one["next_payment"] and one["next_payment"]["due_at"] for one in told] == [
        "2026-04-04T00:00:00.000Z",
        "2026-04-07T00:00:00.000Z",
        None,
    ]
    assert told[0]["next_payment"]["total_cents"] == 4_900
    assert (told[2]["reason"], told[2]["period"]) == ("payment_failed", None)


def test_what_is_cancelled_has_no_next_payment() -> None:  # BIL-4
    shown = summary(lived({"at": on(4, 10).isoformat(), "do": "cancel"}, until=on(4, 11)).state)
    assert (shown["state"], shown["cancel_at"], shown["next_payment"]) == ("active", "2026-05-01T00:00:00.000Z", None)


@settings(max_examples=60)
@given(LIVES)
def test_the_next_payment_is_what_is_then_asked_for(life: Life) -> None:
    timeline, now = Timeline(), MARCH
    timeline.do({"at": MARCH.isoformat(), "do": "start", "plan": life.plan, "card": life.card})
    for gap, step in life.steps:
        now += timedelta(seconds=gap)
        timeline.do({"at": now.isoformat(), **step})
    promised = summary(timeline.state)["next_payment"]
    boundary = timeline.state.boundary
    if promised is None or timeline.state.invoice is not None or boundary is None:
        return
    before = len(timeline.every)
    timeline.until(boundary)
    issued = next(event for _, event in timeline.every[before:] if isinstance(event, b.InvoiceIssued))
    told = [{name: line_object(line)[name] for name in ("kind", "cents", "description")} for line in issued.lines]
    assert promised["lines"] == told
    assert promised["total_cents"] == issued.total_cents


# previews


def test_a_preview_is_what_the_change_comes_to_and_changes_nothing() -> None:  # BIL-2
    timeline = lived(until=on(4, 16))
    before = timeline.state
    ahead, lines = preview(POLICY, before, None, 2, on(4, 16))
    assert timeline.state is before
    timeline.run(AddSeat(member(2), on(4, 16)))
    assert list(lines) == [line for _, event in timeline.every[-1:] for line in event.lines]  # type: ignore[union-attr]
    assert summary(ahead) == summary(timeline.state)


def test_a_preview_of_plan_and_seats_together_has_the_lines_of_one_change() -> None:
    timeline = lived(until=on(4, 16))
    ahead, lines = preview(POLICY, timeline.state, "yearly", 3, on(4, 16))
    timeline.run(SwitchPlan("yearly", on(4, 16)))
    for number in (2, 3):
        timeline.run(AddSeat(member(number), on(4, 16)))
    assert list(lines) == list(timeline.state.pending)
    assert summary(ahead) == summary(timeline.state)


def test_a_preview_runs_what_is_due_first() -> None:  # CAL-4
    asked_at = on(4, 1)
    ahead, _ = preview(POLICY, lived(until=on(3, 31)).state, None, None, asked_at)
    assert ahead.invoice is not None


@pytest.mark.parametrize(
    ("plan", "seats", "code"),
    [
        ("weekly", None, "unknown_plan"),
        (None, 0, "invalid_request"),
        (None, MOST_SEATS + 1, "invalid_request"),
        (None, True, "invalid_request"),
    ],
)
def test_what_cannot_be_is_not_previewed(plan: str | None, seats: int | None, code: str) -> None:
    with pytest.raises(Refused) as refused:
        preview(POLICY, lived(until=on(4, 16)).state, plan, seats, on(4, 16))
    assert refused.value.code == code


# what is new among the commands


def test_a_card_that_is_charged_already_is_not_charged_again() -> None:
    timeline = lived(until=on(4, 1, hours=1), kind="declines")
    assert timeline.state.card is not None
    before = len(timeline.every)
    timeline.run(ReplaceCard(timeline.state.card, on(4, 2)))
    assert len(timeline.every) == before


def test_where_nobody_is_billed_time_changes_nothing() -> None:
    timeline = Timeline(replace(POLICY, is_billed=False))
    timeline.do({"at": MARCH.isoformat(), "do": "start"})
    timeline.do({"at": on(9, 1).isoformat(), "do": "add_member"})
    assert [type(event) for _, event in timeline.every] == [b.SubscriptionStarted, b.SeatAdded]


# views


@settings(max_examples=40)
@given(LIVES)
def test_invoices_are_what_became_of_them(life: Life) -> None:
    timeline, now = Timeline(), MARCH
    timeline.do({"at": MARCH.isoformat(), "do": "start", "plan": life.plan, "card": life.card})
    for gap, step in life.steps:
        now += timedelta(seconds=gap)
        timeline.do({"at": now.isoformat(), **step})
    events = [event for _, event in timeline.every]
    told = timeline.told()["invoices"]
    shown = [invoice_object(row, attempts=True) for row in rows(INVOICES, events).values()]
    assert [(one["number"], one["status"], one["total_cents"]) for one in shown] == [
        (one["number"], one["status"], one["total_cents"]) for one in told
    ]
    attempts = [(charge["invoice"], charge["attempt"], charge["result"]) for charge in timeline.told()["charges"]]
    assert attempts == [(one["number"], a["attempt"], a["result"]) for one in shown for a in one["attempts"]]


def test_a_draft_is_in_the_view_until_it_is_used_or_has_lapsed() -> None:
    begun = d.OrganizationDrafted(ORG, member(1), "cus_1", "seti_1", on(3, 3))
    assert [row["expires_at"] for row in rows(DRAFTS_VIEW, [begun]).values()] == [on(3, 3)]
    for end in (d.DraftUsed(ORG), d.DraftExpired(ORG, "cus_1")):
        assert rows(DRAFTS_VIEW, [begun, end]) == {}


def test_an_account_belongs_to_the_organization_it_joined_last() -> None:  # ACC-4
    other = "1" * 24
    joined = MemberJoined(ORG, member(1), "a@example.com", "administrator")
    left = MemberRemoved(ORG, member(1), "left")
    elsewhere = MemberJoined(other, member(1), "a@example.com", "administrator")
    assert rows(MEMBERSHIPS, [joined])[(member(1),)]["org_id"] == ORG
    assert rows(MEMBERSHIPS, [joined, left]) == {}
    assert rows(MEMBERSHIPS, [joined, left, elsewhere, left])[(member(1),)]["org_id"] == other
