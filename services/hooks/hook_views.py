"""Views ``webhooks``, with the sealed request, and ``hook_gateways``, all gateways that ever were. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from shared.events import webhooks as w
from shared.events.gateway import GatewayStarted
from shared.projections.view import Row, View
from shared.store.port import Recorded


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The webhook, as long as there is one. ``since`` is the moment that it begins at, and ``rewinds`` counts how often
    that was moved."""
    if isinstance(event, w.WebhookCreated):
        return {
            "hook_id": event.hook_id,
            "org_id": event.org_id,
            "product_id": event.product_id,
            "account_id": event.account_id,
            "prefix": event.prefix,
            "device_id": event.device_id,
            "request": event.request,
            "enabled": event.enabled,
            "reason": "" if event.enabled else "asked",
            "detail": "",
            "since": recorded.at,
            "rewinds": 0,
            "created_at": recorded.at,
            "updated_at": recorded.at,
        }
    changes = {} if row is None else _changes(row, event)
    return None if row is None or changes is None else {**row, **changes, "updated_at": recorded.at}


def _changes(row: Row, event: Any) -> dict[str, Any] | None:
    match event:
        case w.WebhookChanged(_, prefix, device_id, request):
            return {"prefix": prefix, "device_id": device_id, "request": request}
        case w.WebhookEnabled():
            return {"enabled": True, "reason": "", "detail": ""}
        case w.WebhookDisabled(_, reason, detail):
            return {"enabled": False, "reason": reason, "detail": detail}
        case w.WebhookRewound(_, since):
            return {"since": since, "rewinds": row["rewinds"] + 1}
    return None


def _started(row: Row | None, event: Any, _: Recorded) -> Row | None:
    return row or {"gateway": event.gateway}


WEBHOOKS = View(
    name="webhooks",
    version=1,
    key=("hook_id",),
    columns={
        "hook_id": str,
        "org_id": str,
        "product_id": int,
        "account_id": str,
        "prefix": str,
        "device_id": str,
        "request": str,
        "enabled": bool,
        "reason": str,
        "detail": str,
        "since": datetime,
        "rewinds": int,
        "created_at": datetime,
        "updated_at": datetime,
    },
    events=(
        w.WebhookCreated,
        w.WebhookChanged,
        w.WebhookEnabled,
        w.WebhookDisabled,
        w.WebhookRewound,
        w.WebhookDeleted,
    ),
    keys=lambda event: [(event.hook_id,)],
    fold=fold,
    indexes=(("org_id", "product_id"), ("account_id",)),
)

GATEWAYS = View(
    name="hook_gateways",
    version=1,
    key=("gateway",),
    columns={"gateway": str},
    events=(GatewayStarted,),
    keys=lambda event: [(event.gateway,)],
    fold=_started,
)

VIEWS = (WEBHOOKS, GATEWAYS)
