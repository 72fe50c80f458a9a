"""Whatever single call to the provider is lost before or after it took effect, refused, or repeated: the same is
charged, each once (the last property of the billing specification)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.billing.charging import PRESENT, next_record
from services.billing.provider import Declined, Provider
from services.billing.subscriptions import Advance, Authenticate, Policy, Record, RecordPostponed
from shared.events import billing as b
from tests.billing.played_provider import Fault, PlayedProvider
from tests.billing.test_examples import VECTORS, policy_of
from tests.billing.test_properties import LIVES, Life
from tests.billing.timelines import Timeline

FAULTS = get_args(Fault)
MARCH = datetime(2026, 3, 2, tzinfo=UTC)
START = {"at": MARCH.isoformat(), "do": "start"}
MOST_LOOKS = 20
"""Within one instant; a fault is over after one call."""


class Charged(Timeline):
    """A timeline whose attempts are made by ``charging``."""

    def __init__(self, policy: Policy, provider: PlayedProvider) -> None:
        super().__init__(policy)
        self.provider = provider

    def answer(self) -> None:
        charge = self.state.charge
        assert charge is not None
        at, number = charge.try_at, charge.attempt
        for _ in range(MOST_LOOKS):
            record = self._looked(at)
            if record is not None:
                self.run(record)
            charge = self.state.charge
            if charge is None or charge.attempt != number or charge.try_at > at:
                return
            if charge.present and charge.provider_ref is not None:
                self.provider.confirmed_by_member(charge.provider_ref)
        raise AssertionError(f"nothing becomes of attempt {number}")

    def _looked(self, at: datetime) -> Record | None:
        charge, invoice = self.state.charge, self.state.invoice
        assert charge is not None
        assert invoice is not None
        if any(first <= at < last for first, last in self.outages):
            return RecordPostponed(invoice.number, charge.attempt, "unreachable", at)
        return next_record(self.state, cast(Provider, self.provider), at)


def lived(vector: dict[str, Any], provider: PlayedProvider, kind: type[Charged] = Charged) -> Charged:
    timeline = kind(policy_of(vector), provider)
    for step in vector["timeline"]:
        timeline.do(step)
    timeline.until(datetime.fromisoformat(vector["until"]) + timedelta(days=1))
    return timeline


def charged(timeline: Charged) -> list[tuple[int, int]]:
    """Invoice and cents that really moved."""
    moved = timeline.provider.moved()
    told = [(event.number, event.amount_cents) for _, event in timeline.every if isinstance(event, b.PaymentSucceeded)]
    assert sorted(moved) == sorted(told)
    return sorted(moved)


@pytest.mark.skipif(not VECTORS, reason="the specification's examples are not there")
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_whatever_call_goes_wrong_the_same_is_charged_once(vector: dict[str, Any]) -> None:
    smooth = lived(vector, PlayedProvider())
    expected = charged(smooth)
    assert [cents for _, cents in expected] == [
        charge["cents"] for charge in vector["expect"]["charges"] if charge["result"] == "succeeded"
    ]
    for number in range(smooth.provider.calls):
        for fault in FAULTS:
            assert charged(lived(vector, PlayedProvider({number: fault}))) == expected, (number, fault)


@settings(max_examples=60)
@given(LIVES, st.dictionaries(st.integers(0, 60), st.sampled_from(FAULTS), max_size=20))
def test_money_moves_only_for_what_is_recorded_as_paid(life: Life, faults: dict[int, Fault]) -> None:
    timeline = Charged(Policy(), PlayedProvider(faults))
    now = MARCH
    timeline.do({**START, "plan": life.plan, "card": life.card})
    for gap, step in life.steps:
        now += timedelta(seconds=gap)
        timeline.do({"at": now.isoformat(), **step})
    timeline.until(now + timedelta(days=90))
    charged(timeline)
    for intent in timeline.provider.intents.values():
        assert intent.moved in (0, intent.payment.amount_cents)


def test_a_payment_that_the_member_does_not_confirm_is_given_up_after_an_hour() -> None:
    timeline = Charged(Policy(), PlayedProvider())
    for step in (START, {"at": "2026-04-10T00:00:00Z", "do": "replace_card", "card": "needs_authentication"}):
        timeline.do(step)
    asked_at = datetime(2026, 5, 2, 10, tzinfo=UTC)
    timeline.until(asked_at)
    timeline.run(Authenticate(asked_at))
    provider = cast(Provider, timeline.provider)
    timeline.run(cast(Record, next_record(timeline.state, provider, asked_at)))
    assert next_record(timeline.state, provider, asked_at + PRESENT - timedelta(seconds=1)) is None
    given_up = next_record(timeline.state, provider, asked_at + PRESENT)
    assert given_up is not None
    timeline.run(given_up)
    assert timeline.state.standing == "past_due"
    assert timeline.state.invoice is not None
    assert timeline.state.invoice.retry_at == datetime(2026, 5, 4, tzinfo=UTC)


def test_a_bank_that_says_yes_to_an_earlier_attempt_pays_the_invoice_once() -> None:  # GW-1
    timeline = Charged(Policy(), PlayedProvider())
    for step in (START, {"at": "2026-04-10T00:00:00Z", "do": "replace_card", "card": "declines"}):
        timeline.do(step)
    timeline.until(datetime(2026, 5, 3, tzinfo=UTC))
    (late,) = [intent for intent in timeline.provider.intents.values() if isinstance(intent.status, Declined)]
    late.kind = "ok"
    timeline.provider._move(late, present=False)
    timeline.until(datetime(2026, 5, 5, tzinfo=UTC))
    assert charged(timeline) == [(1, 4_900), (2, 4_900)]
    assert len(timeline.provider.intents) == 2


def test_nothing_is_asked_for_before_its_time() -> None:
    timeline = Charged(Policy(), PlayedProvider())
    timeline.do(START)
    timeline.run(Advance(MARCH + timedelta(days=30)))
    assert next_record(timeline.state, cast(Provider, timeline.provider), MARCH) is None
