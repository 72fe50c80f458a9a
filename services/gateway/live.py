"""Events as readers of event streams see them, made from what the bus brings (HTTP contract 12.2 and 12.3). Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.events import gateway as g

PLATFORM_TTL_S = 60

PLATFORM_EVENTS: tuple[type, ...] = (
    g.DeviceConnected,
    g.SessionReplaced,
    g.DeviceDisconnected,
    g.UpdateStarted,
    g.UpdateSucceeded,
    g.UpdateFailed,
)
"""The facts that readers hear of."""


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """One event of a device. ``ttl`` in seconds; ``version`` is the firmware that the device reported."""

    name: str
    data: str | None
    ttl: int
    published_at: datetime
    coreid: str
    product_id: int | None
    version: int | None
    public: bool


@dataclass(frozen=True, slots=True)
class Missed:
    """The reader was slow: so many events are left out here (LOG-4)."""

    count: int


def published(event: g.DevicePublished) -> PublishedEvent:
    """What a device published."""
    return PublishedEvent(
        name=event.name,
        data=event.data,
        ttl=event.ttl_s,
        published_at=event.published_at,
        coreid=event.device_id,
        product_id=event.product_id,
        version=event.version,
        public=event.public,
    )


def announced(fact: Any, at: datetime, product_id: int | None, version: int | None) -> Iterator[PublishedEvent]:
    """What the platform itself says about a device because of a fact, none for most facts."""
    for name, data in _words(fact):
        yield PublishedEvent(name, data, PLATFORM_TTL_S, at, fact.device_id, product_id, version, public=False)


def _words(fact: Any) -> tuple[tuple[str, str], ...]:
    match fact:
        case g.DeviceConnected() | g.SessionReplaced():
            return (("spark/status", "online"),)
        case g.DeviceDisconnected():
            return (("spark/status", "offline"),)
        case g.UpdateStarted():  # every cause there is, a lock or a release, is one of "auto-update"
            return (("spark/status", "auto-update"), ("spark/flash/status", "started"))
        case g.UpdateSucceeded():
            return (("spark/flash/status", "success"),)
        case g.UpdateFailed():
            return (("spark/flash/status", "failed"),)
    return ()
