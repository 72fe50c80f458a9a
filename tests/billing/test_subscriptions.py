from __future__ import annotations

from datetime import UTC, datetime

from services.billing.subscriptions import SUBSCRIPTIONS, StartTrial, Subscription, decide
from shared.events.billing import TrialStarted

ORG = "b" * 24
COMMAND = StartTrial(ORG, "yearly", datetime(2026, 1, 31, 10, 20, 30, 987_654, tzinfo=UTC))
STARTED = TrialStarted(ORG, "yearly", datetime(2026, 3, 2, 10, 20, 30, tzinfo=UTC))


def test_a_trial_is_thirty_days_in_whole_seconds() -> None:  # BIL-1, CAL-1, CAL-3
    assert decide(Subscription(), COMMAND) == [STARTED]


def test_a_trial_starts_once() -> None:
    assert decide(SUBSCRIPTIONS.evolve(Subscription(), STARTED), COMMAND) == []
