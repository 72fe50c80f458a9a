"""What readers of event streams missed, from the logs of all gateways and from the event store (decision 25).

Every gateway serves ``read_log(streams, after, since)`` to the others: a piece of its log as ``log_reading`` reads it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

import msgspec

from services.gateway.calls import service_of
from services.gateway.catching_up import Page
from services.gateway.entries import DeviceEntry, ProductEntry
from services.gateway.filters import EventFilter, log_stream, of_owner, streams_of
from services.gateway.live import PLATFORM, PLATFORM_EVENTS, Place, PublishedEvent, Sessions, facts_told, lane_of, told
from services.gateway.log_pages import DONE, Newest, merged
from services.gateway.log_reading import MAX_STREAMS, Piece, Wanted, read_behind, read_newest
from services.gateway.stream_ids import Ids
from shared.bus.messages import to_message, to_recorded
from shared.context import Context
from shared.errors import FlotillaError, NotFound, Refused, Unavailable
from shared.events.contracts import CONTRACTS, Registry, UnknownEvent
from shared.events.gateway import DevicePublished, ServerPublished
from shared.events.metadata import metadata
from shared.store.port import EventStore, Only, Position, Recorded

log = logging.getLogger(__name__)
T = TypeVar("T")

AT_ONCE = 4
"""Pieces that are read at once, for all readers together."""
READ_S = 5.0
"""How long another gateway may take to answer."""
AWAY_S = 3.0
"""How long a gateway that did not answer is not asked again."""
CLOCKS_S = 5.0
"""How far the clocks of gateways may be apart."""
FACTS_AT_ONCE = 500
MOST_FACTS = 25_000
"""Facts of the platform that are looked at for one reader."""
MOST_LISTED = 1_000
"""Events of a page of a product's log."""
_LAST_PART = 9
_FACTS = Only(types=frozenset(event.__name__ for event in PLATFORM_EVENTS))


class Bus(Protocol):
    """Calls to services."""

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = 10.0, **arguments: Any
    ) -> Any: ...


class Known(Protocol):
    """What history asks the directory."""

    def device(self, device_id: str) -> DeviceEntry | None: ...

    def product(self, ref: str) -> ProductEntry | None: ...

    def products_of(self, org_id: str) -> list[int]: ...

    def products_of_owner(self, owner_id: str) -> list[int]: ...

    def owned_since(self, device_id: str, owner_id: str) -> datetime | None: ...

    def gateways(self) -> list[str]: ...


class Past:
    """What one reader has heard of the platform's facts while it catches up."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.looked_at = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a product's log. ``versions``: what the next page goes on before, None at the end; ``incomplete``: a
    gateway could not be asked for the first page or this one, what it has is in none that follow."""

    events: Sequence[tuple[Recorded, PublishedEvent]]
    versions: Mapping[str, int] | None
    incomplete: bool


class History:
    """In the loop's thread. ``log`` is this gateway's, ``store`` the platform's."""

    def __init__(
        self,
        gateway: str,
        directory: Known,
        bus: Bus,
        store: EventStore,
        log_store: EventStore,
        ids: Ids,
        *,
        contracts: Registry = CONTRACTS,
    ) -> None:
        self.ids = ids
        self._gateway = gateway
        self._directory = directory
        self._bus = bus
        self._store = store
        self._log = log_store
        self._contracts = contracts
        self._reading = asyncio.Semaphore(AT_ONCE)
        self._asking = asyncio.Semaphore(AT_ONCE)
        self._away: dict[str, float] = {}

    def methods(self) -> Mapping[str, Callable[..., Awaitable[Any]]]:
        """What this gateway serves to the others."""
        return {"read_log": self.read_log, "read_newest": self.read_newest}

    async def read_log(self, context: Context, streams: list[str], after: int | None, since: str) -> dict[str, Any]:
        """A piece of this gateway's log. Raises ``Refused``: ``invalid_request``, and ``Unavailable``."""
        if len(streams) > MAX_STREAMS or not all(isinstance(name, str) and name.startswith("log-") for name in streams):
            raise Refused("invalid_request", f"streams: at most {MAX_STREAMS} names of logs.")
        try:
            moment = datetime.fromisoformat(since)
        except (TypeError, ValueError):
            raise Refused("invalid_request", "since: a time.") from None
        if moment.tzinfo is None or isinstance(after, bool) or not (after is None or isinstance(after, int)):
            raise Refused("invalid_request", "since, after: a time with its zone and a position.")
        position = None if after is None else Position(after)
        piece = await self._piece(tuple(streams), position, moment)
        return {
            "events": [to_message(one) for one in piece.events],
            "looked": piece.looked,
            "end": piece.end,
            "gap": piece.gap,
            "restarted": piece.restarted,
        }

    async def read_newest(
        self, context: Context, product_id: int, before: int | None, prefix: str, device_id: str | None, limit: int
    ) -> dict[str, Any]:
        """A page of a product's log here, the newest first. Raises ``Refused``: ``invalid_request``, and
        ``Unavailable``."""
        numbers = [product_id, limit, *([] if before is None else [before])]
        if any(isinstance(one, bool) or not isinstance(one, int) or one < 0 for one in numbers):
            raise Refused("invalid_request", "product_id, before, limit: whole numbers.")
        if not isinstance(prefix, str) or not isinstance(device_id, str | None) or not 1 <= limit <= MOST_LISTED:
            raise Refused("invalid_request", f"prefix, device_id: text; limit: 1 to {MOST_LISTED}.")
        page = await self._newest_here(product_id, before, Wanted(prefix, device_id), limit)
        return {
            "events": [to_message(one) for one in page.events],
            "top": page.top,
            "looked": page.looked,
            "looked_at": None if page.looked_at is None else page.looked_at.isoformat(),
            "end": page.end,
        }

    async def list_newest(
        self, product_id: int, before: Mapping[str, int] | None, wanted: Wanted, limit: int
    ) -> Listed:
        """A page of a product's log from all gateways, the newest first; ``before`` is what the page before said."""
        lanes = self.lanes()
        asked = dict.fromkeys(lanes) if before is None else {**before}
        going = {lane: version for lane, version in asked.items() if version != DONE and lane in lanes}
        answers = await asyncio.gather(
            *(self._newest_of(lanes[lane], product_id, version, wanted, limit) for lane, version in going.items())
        )
        pages = {lane: page for lane, page in zip(going, answers, strict=True) if page is not None}
        events, versions = merged(pages, limit)
        filtered = EventFilter(product_id=product_id, device_id=wanted.device_id, prefix=wanted.prefix)
        shown = [(one, event) for one in events if (event := self._published(one, filtered)) is not None]
        more = any(version != DONE for version in versions.values())
        return Listed(shown, versions if more else None, len(pages) < len(going) or not lanes.keys() <= asked.keys())

    async def _newest_of(
        self, name: str, product_id: int, before: int | None, wanted: Wanted, limit: int
    ) -> Newest | None:
        """None: that gateway is away."""
        if name == self._gateway:
            return await self._newest_here(product_id, before, wanted, limit)
        asked: dict[str, Any] = {"product_id": product_id, "before": before, "limit": limit}
        asked |= {"prefix": wanted.prefix, "device_id": wanted.device_id}
        try:
            return await self._call(name, "read_newest", _newest, asked)
        except Unavailable as error:
            log.info("a page of a product's log lacks what a gateway has: %s", error)
            return None

    async def _newest_here(self, product_id: int, before: int | None, wanted: Wanted, limit: int) -> Newest:
        async with self._reading:
            return await asyncio.to_thread(read_newest, self._log, log_stream(product_id), before, wanted, limit)

    async def here(self) -> dict[str, Place]:
        """The end of what can be read here without asking anybody: a reader who begins now has missed nothing of it."""
        platform, own = await asyncio.gather(asyncio.to_thread(self._store.head), asyncio.to_thread(self._log.head))
        ends = {PLATFORM: platform, lane_of(self._gateway): own}
        return {lane: Place(position or 0, _LAST_PART) for lane, position in ends.items()}

    def lanes(self) -> dict[str, str]:
        """The lanes of all gateways that ever were, with their names."""
        return {lane_of(name): name for name in {*self._directory.gateways(), self._gateway}}

    async def read(self, wanted: EventFilter, lane: str, place: Place | None, since: datetime, past: Past) -> Page:
        """What the reader wants of the lane behind this place. Raises ``Unavailable``."""
        if lane == PLATFORM:
            return await self._facts(wanted, place, past)
        name = self.lanes().get(lane)
        if name is None:
            return Page((), place, end=True)
        after = None if place is None else Position(place.position)
        moment = since if name == self._gateway else since - timedelta(seconds=CLOCKS_S)
        streams = streams_of(wanted, self._products(wanted))
        if name == self._gateway:
            piece = await self._piece(streams, after, moment)
        else:
            piece = await self._ask(name, streams, after, moment)
        events = [event for one in piece.events if (event := self._published(one, wanted)) is not None]
        looked = None if piece.looked is None else Place(piece.looked, _LAST_PART)
        return Page(events, looked, piece.end, piece.gap, piece.restarted)

    async def read_here(
        self, wanted: EventFilter, after: int | None, since: datetime
    ) -> tuple[Piece, list[tuple[Recorded, PublishedEvent]]]:
        """A piece of this gateway's log, and what somebody with this filter may see of it. Raises ``Unavailable``."""
        streams = streams_of(wanted, self._products(wanted))
        piece = await self._piece(streams, None if after is None else Position(after), since)
        return piece, [(one, event) for one in piece.events if (event := self._published(one, wanted)) is not None]

    async def _piece(self, streams: Sequence[str], after: Position | None, since: datetime) -> Piece:
        async with self._reading:
            return await asyncio.to_thread(read_behind, self._log, streams, after, since)

    async def _ask(self, name: str, streams: Sequence[str], after: Position | None, since: datetime) -> Piece:
        asked = {"streams": list(streams), "after": after, "since": since.isoformat()}
        return await self._call(name, "read_log", _piece, asked)

    async def _call(self, name: str, method: str, read: Callable[[Any], T], asked: Mapping[str, Any]) -> T:
        """Raises ``Unavailable`` for a gateway that does not answer, at once if it did not a moment ago."""
        if self._away.get(name, 0.0) > asyncio.get_running_loop().time():
            raise Unavailable(f"gateway {name} is away")
        context = Context.new("system:history", f"gateway:{self._gateway}")
        try:
            async with self._asking:
                return read(await self._bus.call(service_of(name), method, context, timeout_s=READ_S, **asked))
        except (FlotillaError, KeyError, TypeError, ValueError) as error:
            self._away[name] = asyncio.get_running_loop().time() + AWAY_S
            raise Unavailable(f"the log of gateway {name} cannot be read: {error}") from error

    def _products(self, wanted: EventFilter) -> list[int]:
        if wanted.product_id is not None:
            return [wanted.product_id]
        if wanted.owner_id is not None:
            return self._directory.products_of_owner(wanted.owner_id)
        return [] if wanted.org_id is None else self._directory.products_of(wanted.org_id)

    def _published(self, recorded: Recorded, wanted: EventFilter) -> PublishedEvent | None:
        """The event as the reader sees it, None if it may not or does not want to."""
        event = self._decoded(recorded)
        if not isinstance(event, (DevicePublished, ServerPublished)):
            return None
        shown = told(event, metadata(recorded).source, recorded.position)
        if isinstance(event, ServerPublished):
            if event.product_id is None:
                return shown if wanted.takes_own(event) else None
            return shown if wanted.takes(shown, self._org_of(event.product_id), None) else None
        device = self._directory.device(event.device_id)
        if device is not None and (device.membership.quarantined or device.membership.denied):
            return None
        return of_owner(shown, device) if self._takes(wanted, shown, device, recorded.at) else None

    def _takes(self, wanted: EventFilter, event: PublishedEvent, device: DeviceEntry | None, at: datetime) -> bool:
        if event.product_id is None:
            return False
        owner_id = None
        if wanted.owner_id is not None and device is not None and device.owner_id == wanted.owner_id:
            since = self._directory.owned_since(device.device_id, wanted.owner_id)
            owner_id = device.owner_id if since is not None and at >= since else None
        return wanted.takes(event, self._org_of(event.product_id), owner_id)

    def _org_of(self, product_id: int) -> str | None:
        product = self._directory.product(str(product_id))
        return None if product is None else product.org_id

    async def _facts(self, wanted: EventFilter, place: Place | None, past: Past) -> Page:
        if place is None:  # nobody who begins is without one
            return Page((), None, end=False, gap=True)
        async with self._reading:
            first, page, head = await asyncio.to_thread(self._read_facts, place)
        if place.position > (head or 0):
            return Page((), Place(head or 0, _LAST_PART), end=True, gap=True, restarted=True)
        past.looked_at += FACTS_AT_ONCE
        if past.looked_at > MOST_FACTS:
            return Page((), Place(head or 0, _LAST_PART), end=False, gap=True)
        events = [event for one in [*first, *page.events] for event in self._announced(one, wanted, past)]
        looked = place if page.looked is None else max(place, Place(page.looked, _LAST_PART))
        return Page(events, looked, page.end)

    def _read_facts(self, place: Place) -> tuple[list[Recorded], Any, Position | None]:
        head = self._store.head()
        first: list[Recorded] = []
        if place.part < _LAST_PART:  # of the fact there, only a part may have been told
            try:
                first = [self._store.at(Position(place.position))]
            except NotFound:
                first = []
        return first, self._store.read_all(Position(place.position), FACTS_AT_ONCE, _FACTS), head

    def _announced(self, recorded: Recorded, wanted: EventFilter, past: Past) -> list[PublishedEvent]:
        fact: Any = self._decoded(recorded)
        if type(fact) not in PLATFORM_EVENTS or not past.sessions.is_news(fact):
            return []
        device = self._directory.device(fact.device_id)
        if device is None:
            return []
        events = facts_told(recorded, fact, device.counted_product, device.reported_version)
        return [of_owner(event, device) for event in events if self._takes(wanted, event, device, recorded.at)]

    def _decoded(self, recorded: Recorded) -> Any:
        try:
            return self._contracts.decode(recorded)
        except (UnknownEvent, ValueError, msgspec.MsgspecError) as error:
            log.warning("an event in the history is not understood: %r", error)
            return None


def _piece(found: Any) -> Piece:
    events = [to_recorded(message) for message in found["events"]]
    return Piece(events, found["looked"], found["end"], found["gap"], found["restarted"])


def _newest(found: Any) -> Newest:
    events = [to_recorded(message) for message in found["events"]]
    looked_at = None if found["looked_at"] is None else datetime.fromisoformat(found["looked_at"])
    return Newest(events, found["top"], found["looked"], looked_at, found["end"])
