"""The invoices of organizations with what became of them, and as objects of the HTTP contract (13.3). Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from services.billing.summary_object import line_object
from shared.events.billing import (
    ChargeRequested,
    InvoiceIssued,
    InvoiceSettledWithoutCharge,
    InvoiceVoided,
    Line,
    PaymentFailed,
    PaymentSucceeded,
)
from shared.projections.view import Row, View
from shared.store.port import Recorded
from shared.times import iso


def fold_invoice(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """An invoice and its attempts. A void one keeps its number (MON-6)."""
    if isinstance(event, InvoiceIssued):
        return _issued(event)
    if row is None:
        return None
    match event:
        case InvoiceSettledWithoutCharge():
            return {**row, "status": "settled_without_charge"}
        case InvoiceVoided():
            return {**row, "status": "void"}
        case ChargeRequested():
            return {**row, "attempts": [*row["attempts"], _requested(event)]}
        case PaymentSucceeded():
            outcome = {"at": iso(event.at), "submitted": True, "result": "succeeded"}
            return {**row, "status": "paid", "attempts": _told(row, event.attempt, outcome)}
        case _:
            return {**row, "attempts": _told(row, event.attempt, _failed(event))}


def _issued(event: InvoiceIssued) -> Row:
    return {
        "org_id": event.org_id,
        "number": event.number,
        "reason": event.reason,
        "issued_at": event.at,
        "starts_at": event.starts_at,
        "ends_at": event.ends_at,
        "plan": event.plan,
        "seats": event.seats,
        "lines": [msgspec.to_builtins(line) for line in event.lines],
        "total_cents": event.total_cents,
        "status": "open",
        "attempts": [],
    }


def _requested(event: ChargeRequested) -> dict[str, Any]:
    return {
        "attempt": event.attempt,
        "at": iso(event.at),
        "cents": event.amount_cents,
        "by": event.by,
        "submitted": False,
        "result": "pending",
        "code": None,
    }


def _failed(event: PaymentFailed) -> dict[str, Any]:
    return {"at": iso(event.at), "submitted": event.submitted, "result": "failed", "code": event.code}


def _told(row: Row, attempt: int, outcome: dict[str, Any]) -> list[dict[str, Any]]:
    """The attempts, one of them with its outcome."""
    return [one | outcome if one["attempt"] == attempt else one for one in row["attempts"]]


def invoice_object(row: Row, *, attempts: bool = False) -> dict[str, Any]:
    """An invoice; ``attempts``: with those, too."""
    shown = {
        "number": row["number"],
        "reason": row["reason"],
        "issued_at": iso(row["issued_at"]),
        "period": {"starts_at": iso(row["starts_at"]), "ends_at": iso(row["ends_at"])},
        "plan": row["plan"],
        "seats": row["seats"],
        "lines": [line_object(msgspec.convert(line, Line)) for line in row["lines"]],
        "total_cents": row["total_cents"],
        "status": row["status"],
    }
    return {**shown, "attempts": row["attempts"]} if attempts else shown


INVOICES = View(
    name="invoices",
    version=1,
    key=("org_id", "number"),
    columns={
        "org_id": str,
        "number": int,
        "reason": str,
        "issued_at": datetime,
        "starts_at": datetime,
        "ends_at": datetime,
        "plan": str,
        "seats": int,
        "lines": list,
        "total_cents": int,
        "status": str,
        "attempts": list,
    },
    events=(
        InvoiceIssued,
        InvoiceSettledWithoutCharge,
        InvoiceVoided,
        ChargeRequested,
        PaymentSucceeded,
        PaymentFailed,
    ),
    keys=lambda event: [(event.org_id, event.number)],
    fold=fold_invoice,
)
