"""What must be true of every subscription, whatever happens: the properties of the billing specification. The last one,
lost calls, is of the charger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.money import STANDARD, Configuration, price
from services.billing.standing import Subscription, evolve
from services.billing.subscriptions import Advance, Policy, decide, stream_of
from shared.context import Context
from shared.events import billing as b
from shared.events.contracts import CONTRACTS
from shared.store.port import Position, Recorded
from tests.billing.timelines import ORG, Timeline

CONTEXT = Context.new("system", "test", UUID(int=7))
START = datetime(2026, 1, 31, 10, 20, 30, tzinfo=UTC)
CARDS = ("ok", "declines", "stolen", "needs_authentication")
SEATS = st.one_of(
    st.fixed_dictionaries({"do": st.just("add_member"), "n": st.integers(1, 3)}),
    st.just({"do": "remove_member"}),
)
OPERATED = st.one_of(
    st.just({"do": "retry"}),
    st.just({"do": "void"}),
    st.fixed_dictionaries({"do": st.just("credit"), "cents": st.sampled_from([1, 100, 4_900, 20_000])}),
    st.fixed_dictionaries({"do": st.just("refund"), "invoice": st.integers(1, 4)}, optional={"cents": st.just(300)}),
)
STEPS = st.one_of(
    SEATS,
    OPERATED,
    st.fixed_dictionaries({"do": st.just("switch_plan"), "plan": st.sampled_from(["monthly", "yearly"])}),
    st.just({"do": "cancel"}),
    st.just({"do": "reactivate"}),
    st.just({"do": "authenticate"}),
    st.fixed_dictionaries({"do": st.just("reactivate"), "card": st.sampled_from(CARDS)}),
    st.fixed_dictionaries({"do": st.just("replace_card"), "card": st.sampled_from(CARDS)}),
)
GAPS = st.one_of(st.integers(0, 100), st.integers(0, 40 * 86_400), st.just(86_400), st.integers(0, 400 * 86_400))
POLICIES = st.builds(
    Policy,
    failed_attempts_before_lock=st.integers(1, 4),
    prices=st.builds(
        b.Prices, monthly=st.sampled_from([1, 49, 4_900, 3_333]), yearly=st.sampled_from([58_800, 47_041])
    ),
)


@dataclass(frozen=True)
class Life:
    """What somebody does, and when they look at the clock in between."""

    plan: str
    card: str
    steps: tuple[tuple[int, dict[str, Any]], ...]
    outage: tuple[int, int] | None = None

    def lived(self, policy: Policy, looks: Sequence[int] = ()) -> Timeline:
        timeline = Timeline(policy)
        if self.outage is not None:
            first, length = self.outage
            since = START + timedelta(seconds=first)
            timeline.outages.append((since, since + timedelta(seconds=length)))
        now = START
        timeline.do({"at": now.isoformat(), "do": "start", "plan": self.plan, "card": self.card})
        looking = sorted(START + timedelta(seconds=look) for look in looks)
        for gap, step in self.steps:
            after = now + timedelta(seconds=gap)
            for look in looking:
                if now < look < after:
                    timeline.until(look)
            now = after
            timeline.do({"at": now.isoformat(), **step})
        timeline.until(now + timedelta(days=90))
        return timeline


FEW = settings(max_examples=50)
"""A timeline has some dozen events."""
LIVES = st.builds(
    Life,
    plan=st.sampled_from(["monthly", "yearly"]),
    card=st.sampled_from(CARDS),
    steps=st.lists(st.tuples(GAPS, STEPS), max_size=12).map(tuple),
    outage=st.none() | st.tuples(st.integers(0, 120 * 86_400), st.integers(1, 20 * 86_400)),
)
GOOD = st.builds(
    Life,
    plan=st.sampled_from(["monthly", "yearly"]),
    card=st.just("ok"),
    steps=st.lists(st.tuples(GAPS, SEATS), max_size=12).map(tuple),
)


def invoices(timeline: Timeline) -> dict[int, tuple[b.InvoiceIssued, str]]:
    told = {invoice["number"]: invoice["status"] for invoice in timeline.told()["invoices"]}
    return {
        event.number: (event, told[event.number]) for _, event in timeline.every if isinstance(event, b.InvoiceIssued)
    }


def paid(timeline: Timeline) -> list[b.PaymentSucceeded]:
    return [event for _, event in timeline.every if isinstance(event, b.PaymentSucceeded)]


@FEW
@given(LIVES, POLICIES)
def test_every_cent_is_charged_open_or_pending(life: Life, policy: Policy) -> None:
    timeline = life.lived(policy)
    state = timeline.state
    charged = sum(event.amount_cents for event in paid(timeline))
    still_open = 0 if state.invoice is None else state.invoice.total_cents
    periods = sum(event.lines[0].cents for event, status in invoices(timeline).values() if status != "void")
    made = [line for _, event in timeline.every for line in getattr(event, "lines", ()) if _is_change(event)]
    dropped = [line for _, event in timeline.every if isinstance(event, b.InvoiceVoided) for line in event.dropped]
    made += [event.line for _, event in timeline.every if isinstance(event, b.CreditGranted)]
    standing = sum(line.cents for line in made) - sum(line.cents for line in dropped)
    assert charged + still_open + state.pending_cents == periods + standing


def _is_change(event: object) -> bool:
    return isinstance(event, b.SeatAdded | b.SeatRemoved | b.PlanSwitched)


@FEW
@given(LIVES, POLICIES)
def test_an_invoice_is_paid_once_and_a_charge_is_its_total(life: Life, policy: Policy) -> None:
    timeline = life.lived(policy)
    issued = invoices(timeline)
    numbers = [event.number for event in paid(timeline)]
    assert len(numbers) == len(set(numbers))
    for event in paid(timeline):
        invoice, status = issued[event.number]
        assert status == "paid"
        assert event.amount_cents == invoice.total_cents == sum(line.cents for line in invoice.lines)
    assert sorted(issued) == list(range(1, len(issued) + 1))  # MON-6: no gaps


@FEW
@given(LIVES, POLICIES)
def test_nothing_is_charged_that_must_not_be(life: Life, policy: Policy) -> None:
    timeline = life.lived(policy)
    trial_ends_at = timeline.state.trial_ends_at
    assert trial_ends_at is not None
    for before, event in timeline.every:
        if isinstance(event, b.PaymentSucceeded):
            assert event.amount_cents >= policy.minimum_charge_cents
            assert event.at >= trial_ends_at
            assert before.standing != "inactive" or (before.invoice is not None and before.invoice.is_reactivation)
        if isinstance(event, b.ChargeRequested):
            assert before.charge is None  # GW-1


@FEW
@given(LIVES, POLICIES)
def test_no_more_goes_back_than_was_paid(life: Life, policy: Policy) -> None:
    timeline = life.lived(policy)
    brought = {event.provider_ref: event.amount_cents for event in paid(timeline)}
    for _, event in timeline.every:
        if isinstance(event, b.ChargeRefunded):
            brought[event.provider_ref] -= event.amount_cents
            assert brought[event.provider_ref] >= 0
    left = {one.provider_ref: one.amount_cents - one.returned_cents for one in timeline.state.paid.values()}
    assert left == brought


@FEW
@given(LIVES, POLICIES, st.lists(st.integers(0, 400 * 86_400), max_size=20))
def test_it_does_not_matter_when_the_clock_is_looked_at(life: Life, policy: Policy, looks: list[int]) -> None:
    assert [event for _, event in life.lived(policy).every] == [event for _, event in life.lived(policy, looks).every]


@FEW
@given(GOOD)
def test_whoever_always_pays_pays_for_the_seconds_of_seats(life: Life) -> None:
    timeline = life.lived(Policy())
    exact, lines = _exact(timeline)
    billed = sum(event.amount_cents for event in paid(timeline)) + timeline.state.pending_cents
    assert abs(billed - exact) <= Fraction(lines, 2)


def _exact(timeline: Timeline) -> tuple[Fraction, int]:
    """What the seat-seconds of all periods cost, the running one in full as it is now, and how many lines there are."""
    changes = [(before, event) for before, event in timeline.every if _is_change(event)]
    exact, lines = Fraction(0), 0
    for invoice, _ in invoices(timeline).values():
        length = Fraction(_s(invoice.ends_at - invoice.starts_at))
        configuration, since = Configuration(invoice.plan, invoice.seats), invoice.starts_at
        lines += 1
        for _, change in changes:
            assert isinstance(change, b.SeatAdded | b.SeatRemoved)
            if invoice.starts_at <= change.at < invoice.ends_at and change.lines:
                exact += _cost(configuration) * _s(change.at - since) / length
                configuration, since = Configuration(configuration.plan, change.seats), change.at
                lines += 2
        exact += _cost(configuration) * _s(invoice.ends_at - since) / length
    return exact, lines


def _cost(configuration: Configuration) -> int:
    return configuration.seats * price(STANDARD, configuration.plan)


def _s(span: timedelta) -> int:
    return int(span.total_seconds())


@FEW
@given(LIVES, POLICIES)
def test_a_replayed_stream_is_the_same_and_does_nothing(life: Life, policy: Policy) -> None:
    timeline = life.lived(policy)
    state = Subscription()
    for n, (_, event) in enumerate(timeline.every):
        new = CONTRACTS.encode(event, n, CONTEXT)
        stored = Recorded(new.id, new.type, stream_of(ORG), n, Position(n + 1), START, new.data, new.meta)
        decoded = CONTRACTS.decode(stored)
        assert decoded == event
        state = evolve(state, decoded)
    assert state == timeline.state
    if state.charge is None and state.at is not None:
        assert decide(policy, state, Advance(state.at)) == []
