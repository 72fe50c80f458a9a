"""What this gateway serves to webhooks: a stretch of its log as their owners' streams would show it, and publishing
what came of deliveries (decision 29).

``read_for_hook(wanted, after, since, most)`` → ``events``, ``looked`` (the position up to which these are all),
``end``, ``gap`` (older ones are forgotten). ``publish_for_hook(product_id, owner_id, events)``: to a product's stream,
or to what is an account's own. What was published for a webhook is told to none.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from services.gateway.devices.subscriptions import reserved
from services.gateway.filters import EventFilter
from services.gateway.history import History
from services.gateway.log import TelemetryLog
from shared.clock import Clock
from shared.context import Context
from shared.errors import Refused
from shared.events.gateway import ServerPublished
from shared.events.metadata import metadata
from shared.times import iso

HOOKS = "system:hooks"
"""The actor of what webhooks publish."""
MOST_EVENTS = 200
MOST_PUBLISHED = 500
TTL_S = 60


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    product_id: int | None
    org_id: str | None
    account_id: str | None
    device_id: str | None
    prefix: str


class _Said(msgspec.Struct):
    name: str
    data: str | None


class HookFeed:
    """In the loop's thread."""

    def __init__(self, history: History, log: TelemetryLog, clock: Clock) -> None:
        self._history = history
        self._log = log
        self._clock = clock

    def methods(self) -> Mapping[str, Callable[..., Awaitable[Any]]]:
        """What this gateway serves."""
        return {"read_for_hook": self.read_for_hook, "publish_for_hook": self.publish_for_hook}

    async def read_for_hook(
        self, context: Context, wanted: Any, after: int | None, since: str, most: int
    ) -> dict[str, Any]:
        """See the module. Raises ``Refused``: ``invalid_request``, and ``Unavailable``."""
        asked, moment = _read(wanted, _Wanted), _read(since, datetime)
        if moment.tzinfo is None or not 1 <= _read(most, int) <= MOST_EVENTS:
            raise Refused("invalid_request", f"since, most: a time with its zone, 1 to {MOST_EVENTS}.")
        org_id = None if asked.product_id is not None else asked.org_id
        filtered = EventFilter(asked.product_id, org_id, asked.device_id, asked.account_id, asked.prefix)
        if (filtered.product_id, filtered.org_id, filtered.owner_id) == (None, None, None):
            raise Refused("invalid_request", "wanted: nobody gets everybody's events.")
        piece, seen = await self._history.read_here(filtered, _read(after, int | None), moment)
        told = [(one, event) for one, event in seen if metadata(one).actor != HOOKS]
        events = [
            {
                "id": str(one.id),
                "position": one.position,
                "name": event.name,
                "data": event.data,
                "published_at": iso(event.published_at),
                "recorded_at": iso(one.at),
                "coreid": event.coreid,
                "product_id": event.product_id,
                "version": event.version,
                "public": event.public,
            }
            for one, event in told[:most]
        ]
        is_whole = len(told) <= most
        looked = piece.looked if is_whole else told[most - 1][0].position
        return {"events": events, "looked": looked, "end": piece.end and is_whole, "gap": piece.gap}

    async def publish_for_hook(
        self, context: Context, product_id: int | None, owner_id: str | None, events: Any
    ) -> dict[str, Any]:
        """Returns when they are durable; names of the platform's own are left out. Raises ``Refused``:
        ``invalid_request``, and ``Unavailable``."""
        said = _read(events, list[_Said])
        if len(said) > MOST_PUBLISHED or (product_id is None) == (owner_id is None):
            raise Refused("invalid_request", f"events: at most {MOST_PUBLISHED}, of a product or an owner.")
        storing = [
            self._log.post(
                ServerPublished(product_id, owner_id, one.name, one.data, TTL_S, False, self._clock()), HOOKS
            )
            for one in said
            if not reserved(one.name)
        ]
        for stored in storing:
            await stored
        return {"published": len(storing)}


def _read(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise Refused("invalid_request", str(error)) from None
