"""A summary of what is paid (contract 13.1) in words for a page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

HOW_TO_CANCEL = "You can cancel at any time on the page before this; it then goes on to the end of what is paid."


def consent(summary: Mapping[str, Any]) -> str:
    """What stands next to the button that saves a card: what is charged to it, when, and how to cancel."""
    if is_inactive(summary):
        return (
            f"This card is charged at once for the {_period(summary)} ahead: {_seats(summary)}, "
            f"{money(summary['seats'] * summary['price_cents'])}, and adjustments that were pending. "
            f"It is then charged every {_period(summary)}. {HOW_TO_CANCEL}"
        )
    payment = summary["next_payment"]
    if payment is None:
        return f"Nothing is charged to this card for now. {HOW_TO_CANCEL}"
    when = "again at once" if summary["state"] == "past_due" else f"on {day(payment['due_at'])}"
    amount = money(payment["total_cents"])
    return f"This card is charged {amount} {when}, and then every {_period(summary)}. {HOW_TO_CANCEL}"


def shown(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the pages."""
    card, payment = summary["card"], summary["next_payment"]
    return {
        "state": _state(summary),
        "sandbox": summary["sandbox"],
        "is_inactive": is_inactive(summary),
        "is_past_due": summary["state"] == "past_due",
        "ends": summary["cancel_at"] is not None,
        "card": card and f"{card['brand']} ending in {card['last4']} ({card['exp_month']:02}/{card['exp_year']})",
        "payment": payment
        and {
            "day": day(payment["due_at"]),
            "lines": [{**line, "amount": money(line["cents"])} for line in payment["lines"]],
            "total": money(payment["total_cents"]),
        },
    }


def is_inactive(summary: Mapping[str, Any]) -> bool:
    """Whether it is locked or has ended."""
    return bool(summary["state"] == "inactive")


def money(cents: int) -> str:
    """``-1_234`` as ``-12.34 USD``."""
    sign = "-" if cents < 0 else ""
    return f"{sign}{abs(cents) // 100:,}.{abs(cents) % 100:02} USD"


def day(at: str) -> str:
    """A time of the contract as its day in UTC."""
    moment = datetime.fromisoformat(at)
    return f"{moment.day} {moment:%B %Y}"


def _state(summary: Mapping[str, Any]) -> str:
    match summary["state"], summary["cancel_at"]:
        case "inactive", _:
            why = "the last payment failed" if summary["reason"] == "payment_failed" else "it was cancelled"
            return f"The subscription is inactive: {why}. Nothing is deleted, and devices work on."
        case _, str(ends):
            return f"The subscription is cancelled and ends on {day(ends)}."
        case "trialing", _:
            return f"The trial goes on until {day(summary['trial_ends_at'])}: {_seats(summary)}."
        case "past_due", _:
            left = summary["attempts_left"]
            return f"The last payment failed. It is tried again; the subscription is locked after {left} more."
        case _:
            return f"The subscription is paid until {day(summary['period']['ends_at'])}: {_seats(summary)}."


def _seats(summary: Mapping[str, Any]) -> str:
    return f"{summary['seats']} {'member' if summary['seats'] == 1 else 'members'}, {summary['plan']}"


def _period(summary: Mapping[str, Any]) -> str:
    return "year" if summary["plan"] == "yearly" else "month"
