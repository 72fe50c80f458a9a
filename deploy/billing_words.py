"""Events of subscriptions in words, for operators."""

from __future__ import annotations

from typing import Any

from services.billing.mail.wording import dollars
from services.billing.standing import Subscription
from shared.events import billing as b
from shared.times import day


def happened(event: Any) -> str:
    """One sentence on what happened; the name of an event that it does not know."""
    match event:
        case b.TrialStarted(_, plan, ends_at):
            return f"trial until {day(ends_at)}, {plan}, without a card"
        case b.SubscriptionStarted():
            return f"subscription: {event.plan}, trial until {day(event.trial_ends_at)}, {_card(event.card)}"
        case b.SeatAdded() | b.SeatRemoved():
            how = "joined" if isinstance(event, b.SeatAdded) else "left"
            return f"member {event.member_id} {how}, {_seats(event.seats)}{_lines(event.lines)}"
        case b.PlanSwitched(_, _, plan, was, lines):
            return f"plan {plan} after this period, was {was}{_lines(lines)}"
        case b.CardReplaced(_, _, card):
            return f"card replaced: {_card(card)}"
        case b.SubscriptionCancelled(_, _, ends_at):
            return f"cancelled, ends on {day(ends_at)}"
        case b.CancellationWithdrawn():
            return "cancellation withdrawn"
        case b.SubscriptionEnded(_, _, reason):
            return f"ended: {reason}"
        case b.SubscriptionReactivated(_, _, anchor, plan, seats, _):
            return f"active again from {day(anchor)}: {plan}, {_seats(seats)}"
        case b.AccountLocked(_, _, number):
            return f"locked, for invoice {number} is not paid"
        case _:
            return _charged(event)


def _charged(event: Any) -> str:
    match event:
        case b.InvoiceIssued():
            what = f"{event.plan}, {_seats(event.seats)}, {day(event.starts_at)} to {day(event.ends_at)}"
            return f"invoice {event.number} of {dollars(event.total_cents)}: {what}"
        case b.InvoiceSettledWithoutCharge(_, _, number, cents):
            return f"invoice {number} is settled without a charge, {dollars(cents)} are carried"
        case b.InvoiceVoided(_, _, number, returned, dropped):
            left = f"{dollars(_sum(returned))} pending again, {dollars(_sum(dropped))} dropped"
            return f"invoice {number} is void; {left}"
        case b.ChargeRequested(_, _, number, attempt, cents, by):
            return f"charge of {dollars(cents)} asked for by {by}: invoice {number}, attempt {attempt}"
        case b.ChargePrepared(_, _, _, attempt, ref):
            return f"attempt {attempt} is prepared as {ref}"
        case b.ChargePostponed(_, _, _, attempt, cause, next_try_at):
            return (
                f"attempt {attempt} cannot be made, the provider is {cause}; again at {next_try_at:%Y-%m-%d %H:%M:%S}"
            )
        case b.PaymentSucceeded(_, _, number, attempt, ref, cents):
            return f"invoice {number} is paid: {dollars(cents)}, attempt {attempt}, {ref}"
        case b.PaymentFailed():
            code = "/".join(filter(None, (event.code, event.decline_code)))
            again = "" if event.retry_at is None else f", again on {day(event.retry_at)}"
            return f"attempt {event.attempt} failed: {code}{'' if event.counted else ', not counted'}{again}"
        case _:
            return _overseen(event)


def _overseen(event: Any) -> str:
    match event:
        case b.ChargesHeld(_, _, missed):
            return f"charges are held, {missed} whole periods are overdue"
        case b.ChargesReleased():
            return "charges are let go"
        case b.ChargeResumed(_, _, _, attempt):
            return f"attempt {attempt} is tried again now"
        case b.PeriodWaived(_, _, number):
            return f"nobody pays for the period of invoice {number}"
        case b.CreditGranted(_, _, line):
            return f"credit of {dollars(-line.cents)} for the next payment"
        case b.RefundRequested(_, _, refund, number, _, cents):
            return f"refund {refund} asked for: {dollars(cents)} of invoice {number}"
        case b.RefundFailed(_, _, refund):
            return f"the provider refuses refund {refund}"
        case b.ChargeRefunded(_, _, ref, refund_ref, cents):
            return f"{dollars(cents)} of {ref} went back as {refund_ref}"
        case b.ChargeDisputed(_, _, ref, dispute_ref, cents):
            return f"{dollars(cents)} of {ref} are disputed as {dispute_ref}"
        case b.StrayPaymentFound(_, _, ref, cents):
            return f"stray payment {ref} of {dollars(cents)}"
        case b.TrialEndingSoon() | b.RenewalUpcoming():
            return f"reminded of the next payment, {dollars(event.amount_cents)}"
        case b.CardExpiringSoon(_, _, _, expires_at):
            return f"reminded of the card, good until {day(expires_at)}"
        case _:
            return type(event).__name__


def stands(state: Subscription) -> str:
    """How the subscription is now, on one line."""
    reason = f" ({state.reason})" if state.reason else ""
    parts = [f"{state.standing}{reason}", state.plan, _seats(state.seats)]
    if state.card is not None:
        parts.append(_card(state.card))
    if state.pending:
        parts.append(f"{dollars(state.pending_cents)} pending")
    if state.next_payment_at is not None:
        parts.append(f"next payment {state.next_payment_at:%Y-%m-%d %H:%M:%S} UTC")
    return " · ".join(parts)


def _seats(number: int) -> str:
    return f"{number} {'seat' if number == 1 else 'seats'}"


def _card(card: b.Card) -> str:
    return f"{card.brand} ending in {card.last4}, good until {card.exp_month:02d}/{card.exp_year}"


def _lines(lines: list[b.Line]) -> str:
    return f" ({', '.join(dollars(line.cents) for line in lines)})" if lines else ""


def _sum(lines: list[b.Line]) -> int:
    return sum(line.cents for line in lines)
