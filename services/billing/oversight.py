"""What billing does to keep a subscription's money under a person's eyes: charges that are held until an operator looks
(CAL-6), and what the provider did of its own accord: refunds, disputes, strays (GW-5, GW-6). Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, assert_never

from services.billing.cycle import boundary, in_seconds
from services.billing.money import MONTHS
from services.billing.standing import Event, Subscription
from shared.events.billing import (
    Card,
    CardReplaced,
    ChargeDisputed,
    ChargeRefunded,
    ChargesHeld,
    ChargesReleased,
    StrayPaymentFound,
)


@dataclass(frozen=True, slots=True)
class HoldCharges:
    """The service was away for so many whole periods."""

    missed_periods: int
    at: datetime


@dataclass(frozen=True, slots=True)
class ReleaseCharges:
    """An operator looked: go on."""

    at: datetime


@dataclass(frozen=True, slots=True)
class NoteReturn:
    """The provider gave money of a payment back, or the cardholder wants it back."""

    kind: Literal["refund", "dispute"]
    provider_ref: str
    return_ref: str
    amount_cents: int
    at: datetime


@dataclass(frozen=True, slots=True)
class NoteStray:
    """The provider has a payment that succeeded; no invoice is paid by it."""

    provider_ref: str
    amount_cents: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RefreshCard:
    """The bank gave the card that is on record another expiry, or another number."""

    card: Card
    at: datetime


Oversight = HoldCharges | ReleaseCharges | NoteReturn | NoteStray | RefreshCard


def missed_periods(state: Subscription, now: datetime, most: int = 1_000) -> int:
    """How many whole periods have passed since the next payment was due; what an operator released does not count."""
    due_at = state.next_payment_at
    if due_at is None or (state.cleared_at is not None and due_at <= state.cleared_at):
        return 0
    months, missed = MONTHS[state.plan], 0
    while missed < most and boundary(due_at, (missed + 1) * months) <= now:
        missed += 1
    return missed


def oversee(state: Subscription, command: Oversight) -> Iterator[Event]:
    """What the command means now; nothing, if it is true already."""
    match command:
        case HoldCharges(missed, at):
            if not state.held and state.charge is not None:
                yield ChargesHeld(state.org_id, min(in_seconds(at), state.charge.try_at), missed)
        case ReleaseCharges(at):
            if state.held:
                yield ChargesReleased(state.org_id, in_seconds(at))
        case NoteReturn("refund", provider_ref, return_ref, cents, at):
            if return_ref not in state.noted:
                yield ChargeRefunded(state.org_id, in_seconds(at), provider_ref, return_ref, cents)
        case NoteReturn(_, provider_ref, return_ref, cents, at):
            if return_ref not in state.noted:
                yield ChargeDisputed(state.org_id, in_seconds(at), provider_ref, return_ref, cents)
        case NoteStray(provider_ref, cents, at):
            if provider_ref not in state.noted:
                yield StrayPaymentFound(state.org_id, in_seconds(at), provider_ref, cents)
        case RefreshCard(card, at):
            if state.card is not None and state.card.ref == card.ref and state.card != card:
                yield CardReplaced(state.org_id, in_seconds(at), card)
        case _:
            assert_never(command)
