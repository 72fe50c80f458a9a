"""Many organizations at once: their streams are the same in whatever order they are looked at, and however far the
clock goes at once (CAL-4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from services.billing.simulated_lives import Habits
from services.billing.simulation import Ledger, Simulation
from services.billing.standing import Event, Subscription
from services.billing.subscriptions import Command
from shared.events import billing as b
from shared.events.contracts import CONTRACTS

BEGINS = datetime(2026, 1, 31, tzinfo=UTC)
NUMBER, DAYS = 20, 180


def simulated(seed: int = 1) -> Simulation:
    return Simulation.of(NUMBER, DAYS, seed, BEGINS, habits=Habits(cancels=0.6, declined=0.15, unreachable=0.1))


@pytest.fixture(scope="module")
def digest() -> str:
    made = simulated()
    made.run(timedelta(days=1))
    assert made.unbalanced() == 0
    for kind in ("PaymentSucceeded", "PaymentFailed", "AccountLocked", "SubscriptionReactivated", "ChargePostponed"):
        assert made.total(kind), kind
    return made.digest()


@pytest.mark.parametrize(
    ("grain", "order"),
    [(timedelta(days=1), 7), (timedelta(hours=5), 1), (timedelta(days=33), 2), (timedelta(days=DAYS), 3)],
    ids=lambda value: str(value),
)
def test_streams_are_equal_whatever_the_order_and_grain_of_the_clock(digest: str, grain: timedelta, order: int) -> None:
    made = simulated()
    made.run(grain, order)
    assert made.digest() == digest


def test_other_lives_are_other_streams(digest: str) -> None:
    made = simulated(seed=2)
    made.run(timedelta(days=1))
    assert made.digest() != digest


def test_what_is_heard_is_all_that_happens() -> None:
    heard: list[tuple[str, Command, list[Event]]] = []
    made = Simulation.of(3, 90, 1, BEGINS, heard=lambda *what: heard.append(what))
    made.run(timedelta(days=90))
    kinds = {type(event).__name__ for _, _, events in heard for event in events}
    assert kinds <= set(CONTRACTS.of_service("billing"))
    assert sum(len(events) for _, _, events in heard) == sum(made.total(kind) for kind in kinds)


def test_a_cent_that_is_lost_is_found() -> None:
    ledger, state = Ledger(), Subscription()
    line = b.Line("period", 4_900, "monthly", 1, BEGINS, BEGINS + timedelta(28))
    prices = b.Prices(4_900, 58_800)
    issued = b.InvoiceIssued(
        "0" * 24, BEGINS, 1, "trial_end", line.starts_at, line.ends_at, "monthly", 1, prices, [line], 4_900
    )
    ledger.enter(state, issued)
    assert ledger.balance(state) == -4_900
    ledger.enter(state, b.PaymentSucceeded("0" * 24, BEGINS, 1, 1, "pi_1", 4_899))
    assert ledger.balance(state) == -1
