"""A subscription as the object of the HTTP contract (13.1, 13.2). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from services.billing.money import price
from services.billing.provider import CardSetup
from services.billing.standing import Subscription
from services.billing.subscriptions import Policy, period_ahead
from shared.events.billing import Line
from shared.times import iso


class Browser(Protocol):
    """What a browser needs of a provider."""

    @property
    def publishable_key(self) -> str: ...
    @property
    def script_url(self) -> str: ...
    @property
    def api_url(self) -> str: ...


def summary_object(policy: Policy, state: Subscription, *, is_sandbox: bool) -> dict[str, Any]:
    """The page of a subscription that exists."""
    assert state.trial_ends_at is not None
    card = state.card
    return {
        "state": state.standing,
        "reason": state.reason,
        "plan": state.plan,
        "seats": state.seats,
        "price_cents": price(policy.prices, state.plan),
        "currency": "usd",
        "trial_ends_at": iso(state.trial_ends_at),
        "period": _period(policy, state),
        "cancel_at": None if state.cancel_at is None else iso(state.cancel_at),
        "next_payment": _next_payment(policy, state),
        "card": card and {name: getattr(card, name) for name in ("brand", "last4", "exp_month", "exp_year")},
        "attempts_left": _attempts_left(policy, state),
        "sandbox": is_sandbox,
    }


def line_object(line: Line) -> dict[str, Any]:
    """A line with what it is for (MON-6)."""
    return {
        "kind": line.kind,
        "cents": line.cents,
        "description": described(line),
        "plan": line.plan,
        "seats": line.seats,
        "period": {"starts_at": iso(line.starts_at), "ends_at": iso(line.ends_at)},
    }


def described(line: Line) -> str:
    """The line in words, times in UTC."""
    seats = f"{line.seats} {'seat' if line.seats == 1 else 'seats'}, {line.plan}"
    days = f"{line.starts_at:%Y-%m-%d} to {line.ends_at:%Y-%m-%d}"
    match line.kind:
        case "period":
            return f"{seats}, {days}"
        case "unused":
            return f"Unused time of {seats}, {days}"
        case "remaining":
            return f"Remaining time of {seats}, {days}"
        case "carried":
            return f"Carried over from {days}"
        case "credit":
            return f"Credit of {line.starts_at:%Y-%m-%d}"


def card_setup_object(setup: CardSetup, browser: Browser) -> dict[str, Any]:
    """What the provider's own card form needs (contract 13.2)."""
    return {"setup_id": setup.setup_id, **browser_object(setup.client_secret, browser)}


def browser_object(client_secret: str, browser: Browser) -> dict[str, Any]:
    """A secret of the provider's for one browser, and where that takes it."""
    return {
        "client_secret": client_secret,
        "publishable_key": browser.publishable_key,
        "script_url": browser.script_url,
        "api_url": browser.api_url,
    }


def _period(policy: Policy, state: Subscription) -> dict[str, str] | None:
    """The running one; in the trial, that."""
    if state.standing == "inactive":
        return None
    if state.period is not None:
        return {"starts_at": iso(state.period.starts_at), "ends_at": iso(state.period.ends_at)}
    assert state.trial_ends_at is not None
    starts_at = state.trial_ends_at - timedelta(days=policy.trial_days)
    return {"starts_at": iso(starts_at), "ends_at": iso(state.trial_ends_at)}


def _next_payment(policy: Policy, state: Subscription) -> dict[str, Any] | None:
    due_at = state.next_payment_at
    if due_at is None or state.standing == "inactive":
        return None
    lines: Sequence[Line] = [period_ahead(policy, state, due_at), *state.pending]
    if state.invoice is not None:
        lines = state.invoice.lines
    told = [{name: line_object(line)[name] for name in ("kind", "cents", "description")} for line in lines]
    return {"due_at": iso(due_at), "lines": told, "total_cents": sum(line.cents for line in lines)}


def _attempts_left(policy: Policy, state: Subscription) -> int:
    """Scheduled attempts before the lock (BIL-3a)."""
    if state.reason == "payment_failed":
        return 0
    failures = 0 if state.invoice is None else state.invoice.failures
    return policy.failed_attempts_before_lock - failures
