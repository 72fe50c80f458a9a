"""What an installation may have otherwise than the rules say. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.billing.money import STANDARD
from shared.events.billing import (
    Prices,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """What an installation may have otherwise. ``is_billed``: False where nobody pays, so that time changes nothing;
    ``provider_retry_minutes``: pauses after an attempt that could not be made, the last one for ever (GW-2);
    ``hold_after_missed_periods``: with real money, charges that are overdue by more wait for an operator (CAL-6)."""

    is_billed: bool = True
    trial_days: int = 30
    retry_every_days: int = 3
    failed_attempts_before_lock: int = 3
    minimum_charge_cents: int = 50
    provider_retry_minutes: tuple[int, ...] = (1, 5, 15, 60)
    hold_after_missed_periods: int = 1
    prices: Prices = STANDARD
