"""What an operator does to a subscription, and what becomes of refunds at a provider that may fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import pytest

from services.billing.operating import MOST_CREDIT_CENTS, RecordRefunded, RecordRefundFailed, RetryCharge
from services.billing.oversight import HoldCharges, NoteReturn
from services.billing.provider import Provider, ProviderUnavailable
from services.billing.refunding import KEY_LIFE, settle_refund
from services.billing.subscriptions import RecordPrepared
from shared.events import billing as b
from tests.billing.played_provider import Fault, PlayedProvider
from tests.billing.timelines import Timeline, instants

START = {"at": "2026-03-02T00:00:00Z", "do": "start"}
MAY = {"at": "2026-05-02T00:00:00Z"}
"""The second invoice was due a day ago."""


def lived(*steps: dict[str, Any], until: str = "2026-05-02T00:00:00Z") -> Timeline:
    timeline = Timeline()
    for step in (START, *steps):
        timeline.do(step)
    timeline.until(instants(until))
    return timeline


def unreachable(at: str = "2026-05-02T00:00:00Z") -> Timeline:
    """The second invoice could not be charged since it was due."""
    timeline = Timeline()
    timeline.outages.append((instants("2026-05-01T00:00:00Z"), instants("2026-06-01T00:00:00Z")))
    timeline.do(START)
    timeline.until(instants(at))
    return timeline


def told(timeline: Timeline, kind: type) -> list[Any]:
    return [event for _, event in timeline.every if isinstance(event, kind)]


# -- trying again


def test_a_charge_that_could_not_be_made_is_tried_at_once() -> None:  # GW-2
    timeline = unreachable()
    at = "2026-05-02T00:10:00Z"
    assert timeline.state.charge is not None
    assert timeline.state.charge.try_at > instants(at)
    timeline.do({"at": at, "do": "retry"})
    assert timeline.state.charge.try_at == instants(at) + timedelta(hours=1)  # and not for lack of a try
    timeline.outages.clear()
    timeline.do({"at": "2026-05-02T00:20:00Z", "do": "retry"})
    assert timeline.state.standing == "active"


def test_a_charge_that_failed_is_tried_once_more_and_the_attempt_does_not_count() -> None:
    timeline = lived({"at": "2026-04-10T00:00:00Z", "do": "replace_card", "card": "declines"})
    before = timeline.state.invoice
    timeline.do({**MAY, "do": "retry"})
    after = timeline.state.invoice
    assert before is not None
    assert after is not None
    assert (after.attempts, after.failures, after.retry_at) == (2, before.failures, before.retry_at)
    assert told(timeline, b.ChargeRequested)[-1].by == "operator"


def test_charges_that_were_held_are_let_go() -> None:  # CAL-6
    timeline = unreachable()
    timeline.run(HoldCharges(2, instants("2026-05-02T00:00:00Z")))
    assert timeline.state.held
    timeline.run(RetryCharge(instants("2026-05-02T00:00:00Z")))
    assert (timeline.state.held, timeline.every[-1][1]) == (
        False,
        b.ChargesReleased(timeline.state.org_id, instants("2026-05-02T00:00:00Z")),
    )


@pytest.mark.parametrize(
    ("card", "code"), [("ok", "nothing_to_charge"), ("stolen", "card_refused")], ids=["nothing open", "refused card"]
)
def test_nothing_is_tried_that_cannot_be_charged(card: str, code: str) -> None:
    timeline = lived({"at": "2026-04-10T00:00:00Z", "do": "replace_card", "card": card})
    timeline.do({**MAY, "do": "retry"})
    assert [refusal["code"] for refusal in timeline.refusals] == [code]


# -- voiding


def test_a_void_invoice_is_paid_by_nobody_and_the_subscription_goes_on() -> None:
    timeline = unreachable()
    timeline.do({**MAY, "do": "void", "invoice": 2})
    assert (timeline.state.standing, timeline.state.next_payment_at) == ("active", instants("2026-06-01T00:00:00Z"))
    timeline.do({"at": "2026-05-10T00:00:00Z", "do": "add_member"})
    assert timeline.state.pending == ()  # the time that nobody pays for costs nothing, however many use it
    timeline.until(instants("2026-06-02T00:00:00Z"))
    statuses = {invoice["number"]: invoice["status"] for invoice in timeline.told()["invoices"]}
    assert statuses == {1: "paid", 2: "void", 3: "paid"}
    assert told(timeline, b.PaymentSucceeded)[-1].amount_cents == 9_800


def test_a_void_invoice_drops_what_was_made_in_its_period_and_keeps_credits() -> None:  # MON-5
    timeline = unreachable()
    timeline.do({**MAY, "do": "add_member"})
    timeline.do({**MAY, "do": "credit", "cents": 700})
    timeline.do({**MAY, "do": "void"})
    assert [(line.kind, line.cents) for line in timeline.state.pending] == [("credit", -700)]


def test_only_the_open_invoice_is_voided_and_only_while_no_payment_is_prepared() -> None:
    timeline = unreachable()
    timeline.do({**MAY, "do": "void", "invoice": 1})
    timeline.run(RecordPrepared(2, 1, "pi_9", instants("2026-05-02T00:00:00Z")))
    timeline.do({**MAY, "do": "void", "invoice": 2})
    assert [refusal["code"] for refusal in timeline.refusals] == ["not_open", "charge_in_progress"]


# -- credits


def test_a_credit_is_taken_off_the_next_payment_and_the_rest_is_carried() -> None:  # MON-3
    timeline = lived({"at": "2026-03-05T00:00:00Z", "do": "credit", "cents": 6_000})
    assert [(i["total_cents"], i["status"]) for i in timeline.told()["invoices"]] == [
        (-1_100, "settled_without_charge"),
        (3_800, "paid"),
    ]


@pytest.mark.parametrize("cents", [0, -1, MOST_CREDIT_CENTS + 1])
def test_a_credit_is_more_than_nothing_and_less_than_a_slip(cents: int) -> None:
    timeline = lived({**MAY, "do": "credit", "cents": cents})
    assert [refusal["code"] for refusal in timeline.refusals] == ["bad_amount"]


# -- refunds


def test_a_refund_changes_nothing_but_what_has_gone_back() -> None:
    timeline = lived()
    before = timeline.told()
    timeline.do({**MAY, "do": "refund", "invoice": 1, "cents": 900})
    timeline.do({**MAY, "do": "refund", "invoice": 1})
    assert timeline.told() == before
    assert [event.amount_cents for event in told(timeline, b.ChargeRefunded)] == [900, 4_000]


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ({"invoice": 3}, "not_paid"),
        ({"invoice": 1, "cents": 4_901}, "bad_amount"),
        ({"invoice": 1, "cents": 0}, "bad_amount"),
    ],
    ids=["unpaid", "too much", "nothing"],
)
def test_no_more_is_given_back_than_was_paid(step: dict[str, Any], code: str) -> None:
    timeline = lived({**MAY, "do": "refund", **step})
    assert [refusal["code"] for refusal in timeline.refusals] == [code]


class Asked(Timeline):
    """A refund that an operator asked for and nobody has made yet."""

    def give_back(self, now: datetime) -> None:
        """Not yet."""


def asked(*steps: dict[str, Any]) -> Asked:
    timeline = Asked()
    timeline.do(START)
    timeline.until(instants("2026-05-02T00:00:00Z"))
    for step in steps or ({"invoice": 1, "cents": 900},):
        timeline.do({**MAY, "do": "refund", **step})
    return timeline


def settled(timeline: Timeline, provider: PlayedProvider, gap: timedelta = timedelta(0)) -> None:
    """Asked until nothing is left to be done, ``gap`` after another."""
    now = datetime(2026, 5, 2, tzinfo=UTC)
    for _ in range(10):
        record = settle_refund(timeline.state, cast(Provider, provider), now)
        if record is not None:
            timeline.run(record)
        now += gap


@pytest.mark.parametrize("gap", [timedelta(minutes=10), KEY_LIFE], ids=["soon", "days later"])
@pytest.mark.parametrize("fault", get_args(Fault))
@pytest.mark.parametrize("number", range(3))
def test_whatever_call_goes_wrong_money_goes_back_once(fault: Fault, number: int, gap: timedelta) -> None:
    provider = PlayedProvider({number: fault})
    timeline = asked({"invoice": 1, "cents": 900}, {"invoice": 1, "cents": 900}, {"invoice": 2})
    settled(timeline, provider, gap)
    assert sorted(one.amount_cents for one in provider.returned.values()) == [900, 900, 4_900]
    assert [event.refund_ref for event in told(timeline, b.ChargeRefunded)] == list(provider.returned)
    assert timeline.state.refunds == ()


def test_a_refund_whose_key_is_forgotten_is_found_at_the_provider() -> None:
    provider = PlayedProvider({0: "lost_after"})
    timeline = asked()
    settled(timeline, provider, timedelta(0))  # the second call has the answer
    assert len(provider.returned) == 1
    later, again = asked(), PlayedProvider({0: "lost_after"})
    assert settle_refund(later.state, cast(Provider, again), datetime(2026, 5, 2, tzinfo=UTC)) is None
    again.refund_keys.clear()
    settled_at = datetime(2026, 5, 2, tzinfo=UTC) + KEY_LIFE
    assert settle_refund(later.state, cast(Provider, again), settled_at) == RecordRefunded(1, "re_0", settled_at)
    assert len(again.returned) == 1


def test_a_message_of_the_provider_that_is_heard_first_is_the_refund() -> None:  # GW-5
    timeline = asked()
    timeline.run(NoteReturn("refund", "pi_1_1", "re_0", 900, instants("2026-05-02T00:00:01Z")))
    timeline.run(RecordRefunded(1, "re_0", instants("2026-05-02T00:00:02Z")))
    assert len(told(timeline, b.ChargeRefunded)) == 1
    assert (timeline.state.refunds, timeline.state.paid[1].returned_cents) == ((), 900)


def test_what_was_given_back_at_the_provider_itself_cannot_be_given_back_again() -> None:
    timeline = lived()
    timeline.run(NoteReturn("refund", "pi_1_1", "re_7", 4_900, instants("2026-05-02T00:00:00Z")))
    timeline.do({**MAY, "do": "refund", "invoice": 1})
    assert [refusal["code"] for refusal in timeline.refusals] == ["bad_amount"]


def test_a_refund_that_the_provider_refuses_is_over_and_may_be_asked_for_again() -> None:
    class Refusing(PlayedProvider):
        def refund(self, provider_ref: str, amount_cents: int, key: str) -> str:
            raise ProviderUnavailable("misconfigured")

    timeline = asked()
    record = settle_refund(timeline.state, cast(Provider, Refusing()), datetime(2026, 5, 2, tzinfo=UTC))
    assert record == RecordRefundFailed(1, datetime(2026, 5, 2, tzinfo=UTC))
    timeline.run(record)
    timeline.run(record)
    assert len(told(timeline, b.RefundFailed)) == 1
    assert (timeline.state.refunds, timeline.state.paid[1].returned_cents) == ((), 0)
