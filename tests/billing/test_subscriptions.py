from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.billing.standing import Subscription, evolve
from services.billing.subscriptions import (
    NO_CARD,
    AddSeat,
    Advance,
    Authenticate,
    Cancel,
    Policy,
    Reactivate,
    RecordPaid,
    ReplaceCard,
    StartSubscription,
    StartTrial,
    SwitchPlan,
    decide,
)
from shared.errors import Refused
from shared.events import billing as b
from tests.billing.timelines import Timeline, card, member

ORG = "b" * 24
MARCH = datetime(2026, 3, 2, tzinfo=UTC)
COMMAND = StartTrial(ORG, "yearly", datetime(2026, 1, 31, 10, 20, 30, 987_654, tzinfo=UTC))
STARTED = b.TrialStarted(ORG, "yearly", datetime(2026, 3, 2, 10, 20, 30, tzinfo=UTC))
START = {"at": MARCH.isoformat(), "do": "start"}


def day(month: int, day: int) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


def step(at: datetime, do: str, **more: object) -> dict[str, object]:
    return {"at": at.isoformat(), "do": do, **more}


def lived(*steps: dict[str, object], until: datetime, policy: Policy | None = None) -> Timeline:
    timeline = Timeline(policy or Policy())
    for one in (START, *steps):
        timeline.do(one)
    timeline.until(until)
    return timeline


def told(timeline: Timeline, *kinds: type) -> list[object]:
    return [event for _, event in timeline.every if isinstance(event, kinds)]


def test_a_trial_is_thirty_days_in_whole_seconds() -> None:  # BIL-1, CAL-1, CAL-3
    assert decide(Policy(), Subscription(), COMMAND) == [STARTED]


def test_a_trial_starts_once() -> None:
    state = evolve(Subscription(), STARTED)
    assert decide(Policy(), state, COMMAND) == []
    with pytest.raises(Refused, match="already"):
        decide(Policy(), state, StartSubscription(ORG, "monthly", member(1), "cus", card("ok"), MARCH))


def test_a_trial_without_a_card_ends_like_one_whose_card_is_refused() -> None:
    timeline = Timeline()
    timeline.run(StartTrial(ORG, "monthly", MARCH))
    timeline.until(day(6, 1))
    failures = told(timeline, b.PaymentFailed)
    assert [(event.code, event.submitted) for event in failures] == [(NO_CARD, False)] * 3
    assert (timeline.state.standing, timeline.state.reason) == ("inactive", "payment_failed")


def test_a_member_who_joins_twice_is_one_seat() -> None:
    timeline = lived(until=day(4, 2))
    timeline.run(AddSeat(member(2), day(4, 3)))
    before = len(timeline.every)
    timeline.run(AddSeat(member(2), day(4, 4)))
    assert (len(timeline.every), timeline.state.seats) == (before, 2)


def test_a_change_that_comes_late_counts_from_when_it_happened_but_not_from_an_earlier_period() -> None:  # CAL-5
    timeline = lived(until=day(5, 2))
    timeline.run(AddSeat(member(2), day(4, 20)))
    (added,) = told(timeline, b.SeatAdded)
    assert added.at == day(5, 1)


def test_while_the_fate_of_an_attempt_is_not_known_one_waits() -> None:  # GW-1
    timeline = lived(until=day(3, 31))
    timeline.run(Advance(day(4, 1)))
    assert timeline.state.charge is not None
    for command in (
        Cancel(day(4, 1)),
        ReplaceCard(card("ok", 2), day(4, 1)),
        Reactivate(day(4, 1)),
        Authenticate(day(4, 1)),
    ):
        with pytest.raises(Refused) as refused:
            timeline.run(command)
        assert refused.value.code == "charge_in_progress"
    timeline.run(RecordPaid(1, 1, "pi", day(4, 1)))
    assert timeline.state.standing == "active"
    timeline.run(RecordPaid(1, 1, "pi", day(4, 1)))  # told twice
    assert len(told(timeline, b.PaymentSucceeded)) == 1


def test_a_card_that_is_refused_for_good_is_not_presented_again() -> None:  # GW-3
    timeline = lived(step(day(4, 10), "replace_card", card="stolen"), until=day(5, 5))
    failures = told(timeline, b.PaymentFailed)
    assert [(event.code, event.submitted, event.counted) for event in failures] == [
        ("stolen_card", True, True),
        ("stolen_card", False, True),
    ]
    timeline.do(step(day(5, 6), "replace_card", card="ok"))
    assert timeline.state.standing == "active"


def test_reminders_come_once() -> None:
    yearly = Timeline()
    yearly.do({**START, "plan": "yearly"})
    yearly.until(datetime(2027, 4, 2, tzinfo=UTC))
    assert [type(event) for event in told(yearly, b.TrialEndingSoon, b.RenewalUpcoming)] == [
        b.TrialEndingSoon,
        b.RenewalUpcoming,
    ]
    (soon,) = told(yearly, b.TrialEndingSoon)
    assert (soon.at, soon.amount_cents) == (day(3, 25), 58_800)


def test_a_card_that_expires_is_reminded_of_once() -> None:
    timeline = lived(until=day(4, 2))
    timeline.run(ReplaceCard(replace_expiry(card("ok", 2)), day(4, 3)))
    timeline.until(day(8, 1))
    (soon,) = told(timeline, b.CardExpiringSoon)
    assert (soon.at, soon.expires_at) == (day(7, 1) - timedelta(days=30), day(7, 1))


def replace_expiry(one: b.Card) -> b.Card:
    return b.Card(one.ref, one.brand, one.last4, 6, 2026, one.fingerprint)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (SwitchPlan("weekly", day(4, 3)), "unknown_plan"),
        (Reactivate(day(4, 3)), "not_cancelled"),
        (Authenticate(day(4, 3)), "nothing_to_authenticate"),
    ],
)
def test_what_cannot_be_done_is_refused(command: SwitchPlan | Reactivate | Authenticate, code: str) -> None:
    with pytest.raises(Refused) as refused:
        lived(until=day(4, 2)).run(command)
    assert refused.value.code == code


def test_nothing_can_be_done_to_what_is_not_there() -> None:
    with pytest.raises(Refused):
        decide(Policy(), Subscription(), Cancel(MARCH))


def test_a_reactivation_that_costs_nothing_needs_no_charge() -> None:
    timeline = lived(
        step(day(3, 3), "add_member", n=4),
        step(day(4, 2), "remove_member", n=4),
        step(day(4, 3), "cancel"),
        step(day(5, 10), "reactivate", card="ok"),
        until=day(5, 11),
    )
    assert timeline.state.standing == "active"
    assert [event.number for event in told(timeline, b.PaymentSucceeded)] == [1]
    assert timeline.state.pending_cents == 4_900 - 23_683 + 4_737


def test_a_policy_may_lock_at_once() -> None:
    policy = replace(Policy(), failed_attempts_before_lock=1)
    timeline = lived(step(day(4, 10), "replace_card", card="declines"), until=day(5, 2), policy=policy)
    assert timeline.state.reason == "payment_failed"
