"""Webhooks, and attempts to deliver, as the HTTP contract shows them (contract 14). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.hooks.attempts import Delivery, State
from services.hooks.hook_request import HookRequest, shown_request
from shared.projections.view import Row
from shared.times import iso

KIND = "Webhook"


def hook_object(row: Row, request: HookRequest | None, base_url: str) -> dict[str, Any]:
    """One webhook; without its request if that cannot be read."""
    shown = {"url": "", "requestType": "POST"} if request is None else shown_request(request)
    return {
        "id": row["hook_id"],
        "event": row["prefix"],
        "name": None,
        "integration_type": KIND,
        "created_at": iso(row["created_at"]),
        "updated_at": iso(row["updated_at"]),
        "disabled": not row["enabled"],
        "disabled_reason": row["reason"] or None,
        "disabled_detail": row["detail"] or None,
        "hookUrl": f"{base_url}/v1/webhooks/{row['hook_id']}",
        **({} if row["device_id"] is None else {"deviceID": row["device_id"]}),
        **({} if row["product_id"] is None else {"product_id": row["product_id"]}),
        **({} if row["product_id"] is not None or row["org_id"] is None else {"org_id": row["org_id"]}),
        **shown,
    }


def with_log(shown: dict[str, Any], state: State, log: Sequence[Delivery]) -> dict[str, Any]:
    """The same with how it fares and its last attempts."""
    return {
        **shown,
        "failures": state.failures,
        "failing_since": _time(state.failing_since),
        "next_attempt_at": _time(state.next_at),
        "logs": [attempt_object(one) for one in log],
    }


def attempt_object(delivery: Delivery) -> dict[str, Any]:
    """One attempt; of what is no event (``gap``) the event is null."""
    return {
        "id": str(delivery.id),
        "event_id": delivery.event_id or None,
        "event": delivery.name or None,
        "coreid": delivery.coreid or None,
        "recorded_at": delivery.recorded_at or None,
        "at": iso(delivery.at),
        "outcome": delivery.outcome,
        "tries": delivery.tries,
        "status": delivery.status,
        "duration_ms": delivery.duration_ms,
        "error": delivery.error or None,
        "answer": delivery.answer or None,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
