"""What the worker does of its own accord, by a clock that is set: timers, charges, moves of the clock, hints, alarms,
holds, reconciliation."""

from __future__ import annotations

import base64
import threading
from datetime import timedelta

import pytest

from services.billing.drafts import DRAFTS, BeginDraft
from services.billing.hints import Hints
from services.billing.operating import RequestRefund
from services.billing.oversight import ReleaseCharges
from services.billing.provider import Hint, Open, Payment, ProviderUnavailable, Returned, Succeeded
from services.billing.standing import Subscription
from services.billing.subscriptions import AddSeat, Cancel, ReplaceCard, due_at
from shared.clock import system_clock
from shared.context import Context
from shared.errors import Refused, Unavailable
from shared.events import billing as b
from shared.events.contracts import CONTRACTS
from shared.store.port import Only
from tests.billing.kept import START, Kept, day, worker_of
from tests.billing.played_provider import Intent
from tests.billing.timelines import card, member

ORG, OTHER = "b" * 24, "c" * 24
DRAFT = "d" * 24
OPERATOR = Context.new("system:operator", "test")


def paid(kept: Kept, org_id: str) -> list[int]:
    return [event.amount_cents for event in kept.events(org_id, b.PaymentSucceeded)]


def test_what_comes_due_by_a_move_is_done_in_the_order_of_its_due_times_before_the_move_ends(kept: Kept) -> None:
    kept.start(ORG, "declines")
    kept.start(OTHER, at=day(2))
    begun = BeginDraft(DRAFT, "a" * 24, "cus_9", "seti_9", day(40))
    kept.streams.handle(DRAFTS, f"draft-{DRAFT}", begun, OPERATOR)
    made = kept.process()
    moves = made.clock.move(day(64), OPERATOR).state.moves
    with pytest.raises(Unavailable, match="not done yet"):
        made.clock.await_reached(moves, 0.0)
    worker_of(made).look()
    assert made.clock.await_reached(moves, 0.0).waiting == 0
    types = frozenset({"InvoiceIssued", "PaymentFailed", "PaymentSucceeded"})
    told = [CONTRACTS.decode(one) for one in kept.store.read_all(None, 1_000, Only(types=types)).events]
    moments = [event.at for event in told]
    assert moments == sorted(moments)
    assert [event.at for event in told if isinstance(event, b.PaymentFailed)] == [day(30), day(33), day(36)]
    assert (kept.state(ORG).reason, paid(kept, OTHER)) == ("payment_failed", [4_900, 4_900])
    assert made.clock.now() == day(64)
    assert [event.type for event in kept.store.read(f"draft-{DRAFT}")] == ["OrganizationDrafted", "DraftExpired"]
    worker_of(kept.process()).look()  # another process finds nothing to do
    assert len(kept.store.read("billing-clock")) == 2


def test_a_move_that_a_crash_interrupted_is_finished_by_the_next_process(kept: Kept) -> None:
    kept.start(ORG)
    moves = kept.process().clock.move(day(31), OPERATOR).state.moves
    again = kept.process()
    worker_of(again).look()
    assert again.clock.await_reached(moves, 0.0).reached == moves
    assert paid(kept, ORG) == [4_900]


def test_the_clock_goes_forward_only_and_not_at_all_where_real_money_moves(kept: Kept) -> None:
    clock = kept.process().clock
    clock.move(day(10), OPERATOR)
    with pytest.raises(Refused) as refused:
        clock.move(day(9), Context.new("system:operator", "test"))
    assert refused.value.code == "clock_backwards"
    kept.is_live = True
    live = kept.process().clock
    assert live.now() == START
    with pytest.raises(Refused) as refused:
        live.move(day(20), Context.new("system:operator", "test"))
    assert refused.value.code == "live_payments"


def test_it_does_not_matter_how_often_somebody_looks(kept: Kept) -> None:  # CAL-4
    streams = []
    for org_id, steps in ((ORG, [91.0]), (OTHER, [0.5 * number for number in range(183)])):
        kept.real = day(0)
        kept.start(org_id)
        made = kept.process()
        for step in steps:
            kept.real = day(step)
            worker_of(made).look()
        streams.append([(type(one).__name__, one.at) for one in kept.events(org_id, object)])
    assert streams[0] == streams[1]


def test_an_attempt_of_which_nothing_is_known_rests_longer_and_longer_until_something_happens(kept: Kept) -> None:
    kept.start(ORG)
    made = kept.process()
    kept.provider.faults = dict.fromkeys(range(2, 1_000, 2), "lost_before")  # every call that executes
    kept.real = day(30)
    looked = []
    for _ in range(40):
        before = kept.provider.calls
        worker_of(made).look()
        if kept.provider.calls > before:
            looked.append(kept.seconds)
        kept.seconds += 0.5
    assert 1 < len(looked) < 8
    kept.provider.faults = {}
    kept.seconds += 600
    kept.real += timedelta(hours=1)
    worker_of(made).look()
    assert paid(kept, ORG) == [4_900]


def test_nobody_waits_for_a_subscription_that_an_error_of_ours_stops(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept.start(ORG)
    kept.start(OTHER)
    made = kept.process()
    assert made.charger is not None
    settle = made.charger.settle

    def breaks(org_id: str) -> Subscription:
        if org_id == ORG:
            raise ZeroDivisionError
        return settle(org_id)

    monkeypatch.setattr(made.charger, "settle", breaks)
    kept.real = day(30)
    worker_of(made).look()
    assert (paid(kept, ORG), paid(kept, OTHER)) == ([], [4_900])
    assert f"subscription-{ORG} waits" in caplog.text


def test_charges_that_are_overdue_by_more_than_a_period_wait_for_an_operator_where_money_is_real(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:  # CAL-6
    kept.is_live = True
    kept.start(ORG)
    kept.start(OTHER, at=day(40))
    made = kept.process()
    kept.real = day(30 + 62)
    worker_of(made).look()
    assert (paid(kept, ORG), paid(kept, OTHER)) == ([], [4_900])
    assert [event.missed_periods for event in kept.events(ORG, b.ChargesHeld)] == [2]
    assert f"charges of organization {ORG} are held" in caplog.text
    assert due_at(kept.state(ORG)) is None
    kept.do(ORG, ReleaseCharges(kept.real))
    worker_of(made).look()
    invoices = kept.events(ORG, b.InvoiceIssued)
    assert [event.at for event in invoices] == [day(30), day(60), day(91)]  # 1 April, 1 May, 1 June: as of their times
    assert paid(kept, ORG) == [4_900] * 3
    assert len(kept.events(ORG, b.ChargesHeld)) == 1


def test_the_sandbox_holds_nothing(kept: Kept) -> None:
    kept.start(ORG)
    kept.real = day(30 + 62)
    worker_of(kept.process()).look()
    assert paid(kept, ORG) == [4_900] * 3


@pytest.mark.parametrize(("cause", "tries"), [("misconfigured", 1), ("unreachable", 5)])
def test_the_operator_is_told_of_charges_that_cannot_be_made(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cause: str, tries: int
) -> None:  # GW-2
    kept.start(ORG)
    made = kept.process()

    def refuses(payment: Payment) -> str:
        raise ProviderUnavailable(cause)  # type: ignore[arg-type]

    monkeypatch.setattr(kept.provider, "prepare", refuses)
    told_after = []
    for minutes in (0, 1, 6, 21, 60, 81, 141):
        kept.real = day(30) + timedelta(minutes=minutes)
        worker_of(made).look()
        told_after.append("cannot be made" in caplog.text)
    assert told_after == [number + 1 >= tries for number in range(7)]
    assert caplog.text.count("cannot be made") == 1
    assert cause in worker_of(made).complaint()
    assert kept.state(ORG).standing == "trialing"  # no count, no lock
    assert [event.cause for event in kept.events(ORG, b.ChargePostponed)] == [cause] * 6
    monkeypatch.undo()
    kept.real = day(30) + timedelta(minutes=201)
    worker_of(made).look()
    assert (paid(kept, ORG), worker_of(made).complaint()) == ([4_900], "")


def test_a_hint_is_followed_once_and_says_nothing_that_is_believed(kept: Kept) -> None:  # GW-5
    kept.start(ORG)
    made = kept.process()
    kept.provider.faults = {2: "lost_before", 4: "lost_before"}  # the calls that execute
    kept.real = day(30)
    worker_of(made).look()
    assert kept.state(ORG).charge is not None
    assert worker_of(made)._means.hints.add(Hint("evt_0", "payment_intent.payment_failed", "pi_0"))
    worker_of(made).look()
    assert paid(kept, ORG) == [4_900]
    assert not worker_of(made)._means.hints.add(Hint("evt_0", "payment_intent.payment_failed", "pi_0"))
    calls = kept.provider.calls
    worker_of(made).look()
    assert kept.provider.calls == calls
    worker_of(made)._means.hints.add(Hint("evt_1", "payment_intent.succeeded", "pi_of_somebody_else"))
    worker_of(made).look()
    assert worker_of(made)._means.hints.waiting() == []


def test_more_hints_than_anybody_sends_are_not_kept(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.billing.hints.MOST_WAITING", 2)
    kept.process()
    hints = Hints(kept.opened[0], system_clock)
    assert [hints.add(Hint(f"evt_{number}", "payment_intent.succeeded", "pi")) for number in range(3)] == [
        True,
        True,
        False,
    ]


def test_a_card_that_the_bank_renewed_is_known_as_it_is_now(kept: Kept) -> None:
    kept.start(ORG)
    made = kept.process()
    before = kept.state(ORG).card
    assert before is not None
    renewed = b.Card(before.ref, before.brand, "1881", 1, 2099, before.fingerprint)
    kept.provider.cards[before.ref] = (ORG, renewed)
    for number in range(2):
        worker_of(made)._means.hints.add(Hint(f"evt_{number}", "payment_method.automatically_updated", before.ref))
        worker_of(made).look()
    assert kept.state(ORG).card == renewed
    assert len(kept.events(ORG, b.CardReplaced)) == 1


def test_refunds_and_disputes_are_noted_once_each_however_often_they_are_seen(kept: Kept) -> None:
    kept.start(ORG)
    made = kept.process()
    kept.lives(made, day(31), ORG)
    kept.provider.returns = [
        Returned("refund", "pi_0", "re_1", ORG, 900),
        Returned("dispute", "pi_0", "dp_1", ORG, 4_900),
        Returned("refund", "pi_9", "re_2", "f" * 24, 100),
    ]
    worker_of(made)._means.hints.add(Hint("evt_1", "charge.refunded", "ch_1"))
    worker_of(made).look()
    kept.seconds += 86_400
    worker_of(made).look()
    assert [(one.refund_ref, one.amount_cents) for one in kept.events(ORG, b.ChargeRefunded)] == [("re_1", 900)]
    assert [(one.dispute_ref, one.amount_cents) for one in kept.events(ORG, b.ChargeDisputed)] == [("dp_1", 4_900)]


def test_a_refund_is_made_once_and_holds_up_nothing_while_it_cannot_be(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.start(ORG)
    made = kept.process()
    kept.lives(made, day(31), ORG)
    kept.do(ORG, RequestRefund(1, 900, day(31)))

    def unreachable(*_: object) -> str:
        raise ProviderUnavailable("unreachable")

    with monkeypatch.context() as away:
        away.setattr(kept.provider, "refund", unreachable)
        away.setattr(kept.provider, "returns_since", unreachable)
        kept.real, kept.seconds = day(62), kept.seconds + 1_000
        worker_of(made).look()
        assert paid(kept, ORG) == [4_900, 4_900]
        assert len(kept.state(ORG).refunds) == 1
    for _ in range(3):
        kept.seconds += 1_000
        worker_of(made).look()
    assert [one.amount_cents for one in kept.provider.returned.values()] == [900]
    assert [one.amount_cents for one in kept.events(ORG, b.ChargeRefunded)] == [900]


def test_money_that_no_invoice_is_paid_by_is_found_once_a_day(kept: Kept, caplog: pytest.LogCaptureFixture) -> None:
    kept.start(ORG)
    made = kept.process()
    kept.lives(made, day(31), ORG)
    stray = Payment(ORG, 1, 7, 1_234, "cus_1", "pm_ok_1")
    kept.provider.intents["pi_stray"] = Intent(stray, "ok", Succeeded(1_234), 1_234)
    foreign = Payment("f" * 24, 1, 1, 99, "cus_9", "pm_ok_9")
    kept.provider.intents["pi_foreign"] = Intent(foreign, "ok", Succeeded(99), 99)
    for _ in range(3):
        kept.seconds += 86_400
        worker_of(made).look()
    found = [(one.provider_ref, one.amount_cents) for one in kept.events(ORG, b.StrayPaymentFound)]
    assert found == [("pi_stray", 1_234)]
    assert "pi_foreign succeeded for organization" in caplog.text


def test_an_earlier_attempt_that_pays_late_is_no_stray_while_its_invoice_is_open(kept: Kept) -> None:  # GW-1
    kept.start(ORG, "declines")
    made = kept.process()
    kept.lives(made, day(31), ORG)
    kept.provider.intents["pi_0"].status, kept.provider.intents["pi_0"].moved = Succeeded(4_900), 4_900
    kept.seconds += 86_400
    worker_of(made).look()
    assert kept.events(ORG, b.StrayPaymentFound) == []
    kept.lives(made, day(34), ORG)
    assert paid(kept, ORG) == [4_900]


def test_the_same_of_an_invoice_that_is_void_is_a_stray(kept: Kept) -> None:
    kept.start(ORG, "declines")
    made = kept.process()
    kept.lives(made, day(31), ORG)
    kept.do(ORG, Cancel(day(31)))
    kept.provider.intents["pi_0"].status, kept.provider.intents["pi_0"].moved = Succeeded(4_900), 4_900
    kept.seconds += 86_400
    worker_of(made).look()
    assert [one.provider_ref for one in kept.events(ORG, b.StrayPaymentFound)] == ["pi_0"]


def test_two_chargers_that_prepare_at_the_same_time_execute_one_payment(kept: Kept) -> None:
    """Without keys, as in the sandbox: the second one finds that another payment was recorded meanwhile."""
    kept.start(ORG)
    made, other = kept.process(), kept.process()
    kept.real = day(30)
    kept.do(ORG, AddSeat(member(2), day(30)))
    assert made.charger is not None
    assert other.charger is not None
    prepare, rival = kept.provider.prepare, other.charger

    def beside(payment: Payment) -> str:
        kept.provider.prepare = prepare  # type: ignore[method-assign]
        rival.settle(ORG)
        kept.provider.keys = {"forgotten": "pi_0"}
        return prepare(payment)

    kept.provider.prepare = beside  # type: ignore[method-assign]
    made.charger.settle(ORG)
    assert len(kept.provider.intents) == 2
    assert kept.provider.moved() == [(1, 4_900)]
    assert [event.provider_ref for event in kept.events(ORG, b.PaymentSucceeded)] == ["pi_0"]


def test_a_message_that_is_not_signed_is_refused_and_counted(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept.process()

    def parses(body: bytes, signature: str) -> Hint:
        if signature != "good":
            raise Refused("bad_signature", "no")
        return Hint(body.decode(), "payment_intent.succeeded", "pi_0")

    monkeypatch.setattr(kept.provider, "parse_webhook", parses, raising=False)
    encoded = base64.b64encode(b"evt").decode()
    for body, signature in ((encoded, "bad"), ("not base64!", "good"), ("A" * 400_000, "good")):
        with pytest.raises(Refused) as refused:
            made.inbox.receive(body, signature)
        assert refused.value.code == "bad_signature"
    assert made.inbox.refused == 3
    made.inbox.receive(encoded, "good")
    assert [hint.hint_id for hint in worker_of(made)._means.hints.waiting()] == ["evt"]


def test_whoever_asks_for_a_charge_does_not_wait_for_a_provider_that_does_not_answer(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.start(ORG)
    made = kept.process()
    kept.real = day(30)
    kept.do(ORG, AddSeat(member(2), day(30)))
    prepare, answers = kept.provider.prepare, threading.Event()

    def late(payment: Payment) -> str:
        assert answers.wait(20)
        return prepare(payment)

    monkeypatch.setattr(kept.provider, "prepare", late)
    assert made.charger is not None
    assert made.charger.settle_within(ORG, 0.01).charge is not None
    answers.set()
    assert made.charger.settle_within(ORG, 20).charge is None
    assert paid(kept, ORG) == [4_900]


def test_a_card_that_is_replaced_while_nobody_works_is_charged_by_whoever_works_next(kept: Kept) -> None:
    kept.start(ORG, "declines")
    kept.lives(kept.process(), day(31), ORG)
    kept.do(ORG, ReplaceCard(card("ok", 2), day(31)))
    assert kept.state(ORG).charge is not None
    worker_of(kept.process()).look()
    assert paid(kept, ORG) == [4_900]
    assert kept.provider.intents["pi_0"].status == Open("canceled")
