"""Events of subscriptions (service ``billing``). Stream ``subscription-<org id>``; rules in capitals as the billing
specification numbers them. ``at`` is the logical time: a timer that ran late has the time when it was due (CAL-4).
"""

from __future__ import annotations

from typing import Annotated, Literal

from shared.events.fields import Count, Event, Hex24, Items, Moment, Text, Whole
from shared.events.orgs import Plan

Cents = Annotated[int, Whole(-(2**53), 2**53)]
"""US dollars; less than 0 is a credit."""
Seats = Annotated[int, Whole(1, 1_000_000)]
Number = Annotated[int, Whole(1, 10_000_000)]
ProviderRef = Annotated[str, Text(255, 1)]
Code = Annotated[str, Text(64)]
LineKind = Literal["period", "unused", "remaining", "carried", "credit"]
ChargedBy = Literal["schedule", "customer", "operator"]


class Card(Event, frozen=True):
    """What we know of a card; ``ref`` is the provider's name for it. Never its number (BIL-6)."""

    ref: ProviderRef
    brand: Annotated[str, Text(32)]
    last4: Annotated[str, Text(4, 4, r"[0-9]{4}")]
    exp_month: Annotated[int, Whole(1, 12)]
    exp_year: Annotated[int, Whole(2000, 9999)]
    fingerprint: Annotated[str, Text(64)]


class Prices(Event, frozen=True):
    """Cents for one seat and one period of each plan."""

    monthly: Count
    yearly: Count


class Line(Event, frozen=True):
    """A line of an invoice, or one that waits for the next payment: this configuration, for this time. ``carried``
    is for the time that was settled without a charge, ``credit`` is what an operator granted."""

    kind: LineKind
    cents: Cents
    plan: Plan
    seats: Seats
    starts_at: Moment
    ends_at: Moment


Lines = Annotated[list[Line], Items(10_000)]


class TrialStarted(Event, frozen=True):
    """The organization exists, without a card, and pays nothing until ``ends_at`` (BIL-1)."""

    org_id: Hex24
    plan: Plan
    ends_at: Moment


class SubscriptionStarted(Event, frozen=True):
    """It exists, with a card; nothing is charged until the trial ends (BIL-1)."""

    org_id: Hex24
    at: Moment
    plan: Plan
    member_id: Hex24
    trial_ends_at: Moment
    customer_ref: ProviderRef
    card: Card


class CustomerRegistered(Event, frozen=True):
    """The provider keeps cards for it under this name from now on: it began without one."""

    org_id: Hex24
    at: Moment
    customer_ref: ProviderRef


class CardReplaced(Event, frozen=True):
    """Charges go to this card from now on (BIL-6)."""

    org_id: Hex24
    at: Moment
    card: Card


class SeatAdded(Event, frozen=True):
    """A member joined; ``lines`` is what that changes in a period that is running (BIL-2)."""

    org_id: Hex24
    at: Moment
    member_id: Hex24
    seats: Seats
    lines: Lines


class SeatRemoved(Event, frozen=True):
    """A member left."""

    org_id: Hex24
    at: Moment
    member_id: Hex24
    seats: Seats
    lines: Lines


class PlanSwitched(Event, frozen=True):
    """The next period is one of this plan (PLN-1)."""

    org_id: Hex24
    at: Moment
    plan: Plan
    was: Plan
    lines: Lines


class InvoiceIssued(Event, frozen=True):
    """The price of the period ahead and all that was pending (MON-3); prices are frozen in it (PLN-3)."""

    org_id: Hex24
    at: Moment
    number: Number
    reason: Literal["trial_end", "renewal", "reactivation"]
    starts_at: Moment
    ends_at: Moment
    plan: Plan
    seats: Seats
    prices: Prices
    lines: Lines
    total_cents: Cents


class InvoiceSettledWithoutCharge(Event, frozen=True):
    """There was nothing to charge, or less than the provider takes; the rest is pending again (MON-3, MON-4)."""

    org_id: Hex24
    at: Moment
    number: Number
    carried_cents: Cents


class ChargeRequested(Event, frozen=True):
    """The charger is to charge the invoice. ``card``: the one that came with a re-activation; None: the one on record.
    ``present``: the member is there to confirm it with the bank."""

    org_id: Hex24
    at: Moment
    number: Number
    attempt: Number
    amount_cents: Cents
    by: ChargedBy
    present: bool
    card: Card | None


class ChargePrepared(Event, frozen=True):
    """The provider knows of it under this name; no money has moved."""

    org_id: Hex24
    at: Moment
    number: Number
    attempt: Number
    provider_ref: ProviderRef


class ChargePostponed(Event, frozen=True):
    """It could not be tried, for no fault of the card (GW-2)."""

    org_id: Hex24
    at: Moment
    number: Number
    attempt: Number
    cause: Literal["unreachable", "throttled", "misconfigured"]
    next_try_at: Moment


class PaymentSucceeded(Event, frozen=True):
    """The invoice is paid."""

    org_id: Hex24
    at: Moment
    number: Number
    attempt: Number
    provider_ref: ProviderRef
    amount_cents: Cents


class PaymentFailed(Event, frozen=True):
    """The card was refused. ``final``: it must not be presented again (GW-3); ``counted``: it brings the lock nearer
    (BIL-3a); ``submitted``: the provider was asked; ``retry_at``: when it is tried again by itself, None if it is
    not."""

    org_id: Hex24
    at: Moment
    number: Number
    attempt: Number
    provider_ref: ProviderRef | None
    code: Code
    decline_code: Code
    final: bool
    counted: bool
    submitted: bool
    retry_at: Moment | None


class InvoiceVoided(Event, frozen=True):
    """Nobody pays it. What it took over is pending again; what was made inside its period is dropped (MON-5)."""

    org_id: Hex24
    at: Moment
    number: Number
    returned: Lines
    dropped: Lines


class AccountLocked(Event, frozen=True):
    """The last scheduled attempt failed; the dashboard is closed, devices work on (BIL-3)."""

    org_id: Hex24
    at: Moment
    number: Number


class SubscriptionCancelled(Event, frozen=True):
    """It ends with what is paid, at ``ends_at`` (BIL-4)."""

    org_id: Hex24
    at: Moment
    ends_at: Moment


class CancellationWithdrawn(Event, frozen=True):
    """It goes on as if it had not been cancelled (BIL-5)."""

    org_id: Hex24
    at: Moment


class SubscriptionEnded(Event, frozen=True):
    """It is inactive, as somebody wished (BIL-4)."""

    org_id: Hex24
    at: Moment
    reason: Literal["cancelled"]


class SubscriptionReactivated(Event, frozen=True):
    """It was inactive and is paid again: a cycle that is counted from ``anchor`` (BIL-5). ``card``: the one it was paid
    with."""

    org_id: Hex24
    at: Moment
    anchor: Moment
    plan: Plan
    seats: Seats
    card: Card


class TrialEndingSoon(Event, frozen=True):
    """The first charge is near."""

    org_id: Hex24
    at: Moment
    ends_at: Moment
    amount_cents: Cents


class RenewalUpcoming(Event, frozen=True):
    """A yearly charge is near."""

    org_id: Hex24
    at: Moment
    renews_at: Moment
    amount_cents: Cents


class CardExpiringSoon(Event, frozen=True):
    """The card is good until the end of its month, and that is near."""

    org_id: Hex24
    at: Moment
    card_ref: ProviderRef
    expires_at: Moment


class ChargesHeld(Event, frozen=True):
    """So much is overdue that a person is to look before money moves (CAL-6). ``at``: when the payment was due."""

    org_id: Hex24
    at: Moment
    missed_periods: Count


class ChargesReleased(Event, frozen=True):
    """An operator looked: what is due by then may be charged."""

    org_id: Hex24
    at: Moment


class ChargeRefunded(Event, frozen=True):
    """Money went back to the card; ``refund_ref`` is the provider's name for that."""

    org_id: Hex24
    at: Moment
    provider_ref: ProviderRef
    refund_ref: ProviderRef
    amount_cents: Cents


class ChargeDisputed(Event, frozen=True):
    """The cardholder asks their bank for the money; ``dispute_ref`` is the provider's name for that."""

    org_id: Hex24
    at: Moment
    provider_ref: ProviderRef
    dispute_ref: ProviderRef
    amount_cents: Cents


class StrayPaymentFound(Event, frozen=True):
    """The provider has a payment that succeeded, and no invoice is paid by it (GW-6)."""

    org_id: Hex24
    at: Moment
    provider_ref: ProviderRef
    amount_cents: Cents


class ChargeResumed(Event, frozen=True):
    """An operator has an attempt that could not be made tried again now (GW-2)."""

    org_id: Hex24
    at: Moment
    number: Number
    attempt: Number


class PeriodWaived(Event, frozen=True):
    """An operator voids this invoice, and nobody is to pay for its period; it is lived through all the same."""

    org_id: Hex24
    at: Moment
    number: Number


class CreditGranted(Event, frozen=True):
    """An operator gives money off the next payment: the line is less than 0."""

    org_id: Hex24
    at: Moment
    line: Line


class RefundRequested(Event, frozen=True):
    """An operator has money of a payment given back. ``refund``: which one of the organization's, from 1."""

    org_id: Hex24
    at: Moment
    refund: Number
    number: Number
    provider_ref: ProviderRef
    amount_cents: Cents


class RefundFailed(Event, frozen=True):
    """The provider refuses to give it back: nothing has moved, and it is not tried again."""

    org_id: Hex24
    at: Moment
    refund: Number


class ClockMoved(Event, frozen=True):
    """Billing's time is so many seconds ahead of the machine's: a test installation, by an operator. Stream
    ``billing-clock``. ``at``: billing's time after the move."""

    at: Moment
    offset_s: Count


class ClockReached(Event, frozen=True):
    """All that came due by a move of the clock has been done; ``waiting``: attempts whose fate is not known."""

    at: Moment
    offset_s: Count
    waiting: Count
