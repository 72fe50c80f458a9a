"""Events as readers of event streams see them, made from what the bus brings (HTTP contract 12.2 and 12.3). Pure."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from shared.events import gateway as g
from shared.store.port import Recorded

PLATFORM_TTL_S = 60
MAX_WAITING_BYTES = 4 * 1024 * 1024
"""Of events that wait for one reader."""
_EVENT_BYTES = 300
"""What an event takes without its data."""
OVER_HTTP = "api"
"""``coreid`` of what no device published (contract 12.2)."""

PLATFORM_EVENTS: tuple[type, ...] = (
    g.DeviceConnected,
    g.SessionReplaced,
    g.DeviceDisconnected,
    g.UpdateStarted,
    g.UpdateSucceeded,
    g.UpdateFailed,
)
"""The facts that readers hear of."""


PLATFORM = "platform"
"""The lane of what the platform itself says: the event store."""


@lru_cache(1_024)
def lane_of(gateway: str) -> str:
    """The lane of what this gateway took: its log. A digest, for readers see it."""
    return hashlib.sha256(gateway.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a lane's log, and which of the events that are told of what is there, from 0 on."""

    position: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class Cursor:
    """``places``: the last event of each lane that the reader has; ``since``: when it began, which counts for lanes
    that it has none of."""

    since: datetime
    places: Mapping[str, Place] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishedEvent:
    """One event of a device. ``ttl`` in seconds; ``version`` is the firmware that the device reported; ``owner_id``
    whose the device is now, for those who may know. ``lane`` and ``place`` say where it is kept, if that is known."""

    name: str
    data: str | None
    ttl: int
    published_at: datetime
    coreid: str
    product_id: int | None
    version: int | None
    public: bool
    lane: str = field(default="", compare=False)
    place: Place | None = field(default=None, compare=False)
    owner_id: str | None = field(default=None, compare=False)

    @property
    def size_bytes(self) -> int:
        """About what it takes while it waits for a reader."""
        return _EVENT_BYTES + (0 if self.data is None else len(self.data))


@dataclass(frozen=True, slots=True)
class Missed:
    """Events are left out here (LOG-4): so many that a slow reader left no room for; None: nobody knows how many, for
    the history does not reach back so far."""

    count: int | None

    @property
    def size_bytes(self) -> int:
        """Too few of them wait to count."""
        return 0


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


def posted(event: g.ServerPublished) -> PublishedEvent:
    """What somebody published over HTTP; no device has this ID."""
    return PublishedEvent(
        name=event.name,
        data=event.data,
        ttl=event.ttl_s,
        published_at=event.published_at,
        coreid=OVER_HTTP,
        product_id=event.product_id,
        version=None,
        public=event.public,
    )


def as_devices_hear(event: g.ServerPublished) -> g.DevicePublished:
    """The same for devices that subscribed to it; it is of none of them."""
    return g.DevicePublished(
        device_id="",
        product_id=event.product_id or 0,
        name=event.name,
        data=event.data,
        encoding="text",
        ttl_s=event.ttl_s,
        public=event.public,
        published_at=event.published_at,
        device_at=None,
        version=None,
    )


def at(event: PublishedEvent, lane: str, position: int, part: int = 0) -> PublishedEvent:
    """The same with where it is kept."""
    return replace(event, lane=lane, place=Place(position, part))


def told(event: g.DevicePublished | g.ServerPublished, source: str, position: int) -> PublishedEvent:
    """What is in the log of the gateway ``source`` (as its metadata say), with its place there."""
    shown = posted(event) if isinstance(event, g.ServerPublished) else published(event)
    return at(shown, lane_of(source.removeprefix("gateway:")), position)


class Sessions:
    """The newest sessions of devices, as far as they are remembered, so that the end of an older one is not told as
    "offline" (DEV-7)."""

    def __init__(self, most: int = 20_000) -> None:
        self._most = most
        self._newest: OrderedDict[str, tuple[str, int, int]] = OrderedDict()

    def is_news(self, fact: Any) -> bool:
        """False for the end of a session that a newer one has followed, on whichever gateway."""
        match fact:
            case g.DeviceConnected() | g.SessionReplaced():
                self._newest[fact.device_id] = (fact.gateway, fact.epoch, fact.session)
                self._newest.move_to_end(fact.device_id)
                if len(self._newest) > self._most:
                    self._newest.popitem(last=False)
            case g.DeviceDisconnected():
                mine = (fact.gateway, fact.epoch, fact.session)
                return self._newest.get(fact.device_id, mine) == mine
        return True


def facts_told(recorded: Recorded, fact: Any, product_id: int | None, version: int | None) -> Iterator[PublishedEvent]:
    """What the platform itself says about a device because of a fact, none for most facts."""
    for part, (name, data) in enumerate(_words(fact)):
        event = PublishedEvent(
            name, data, PLATFORM_TTL_S, recorded.at, fact.device_id, product_id, version, public=False
        )
        yield at(event, PLATFORM, recorded.position, part)


def _words(fact: Any) -> tuple[tuple[str, str], ...]:
    match fact:
        case g.DeviceConnected() | g.SessionReplaced():
            return (("spark/status", "online"),)
        case g.DeviceDisconnected():
            return (("spark/status", "offline"),)
        case g.UpdateStarted(cause="file"):
            return (("spark/flash/status", "started"),)
        case g.UpdateStarted():  # a lock or a release
            return (("spark/status", "auto-update"), ("spark/flash/status", "started"))
        case g.UpdateSucceeded():
            return (("spark/flash/status", "success"),)
        case g.UpdateFailed():
            return (("spark/flash/status", "failed"),)
    return ()
