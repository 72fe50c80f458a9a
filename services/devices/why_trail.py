"""Reads the events that a device's story is told from: bounded, and only those that whoever asks may see.

Nothing is searched for: streams are read by name, single events by position or by stream and version. Another
service's stream is read for its facts, whose contracts are shared; asking that service would tell less (its views keep
no history) and could fail where reading does not.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

import msgspec

from services.devices.device import stream_of
from services.devices.imports import stream_of as import_stream
from services.devices.why_links import Found
from services.devices.why_story import in_order
from shared.errors import NotFound
from shared.events.contracts import Registry, UnknownEvent
from shared.events.gateway import DeviceDisconnected, GatewayLost, GatewayStarted, GatewayStopped
from shared.events.metadata import metadata
from shared.events.rollouts import RolloutTurnsGiven
from shared.ids import record_id
from shared.store.port import EventStore, Position, Recorded, StreamNotFound, StreamTombstoned

MAX_EVENTS = 1_000
"""Newest events of a stream that are looked at."""
MAX_LINKS = 20
"""Newest links of a chain that are shown."""
MAX_CAUSES = 5
"""How far back an event is followed to what it answered."""
MAX_LOOKS = 100
"""Single events that are fetched for one answer."""


class Trail:
    """Of one device, for the team of ``product_id``: events that name another product are left out. None: for the
    operator, who sees all. ``is_cut``: something older exists that was not looked at, or was forgotten."""

    def __init__(self, store: EventStore, contracts: Registry, device_id: str, product_id: int | None) -> None:
        self._store = store
        self._contracts = contracts
        self._device_id = device_id
        self._product_id = product_id
        self._looks = 0
        self._answered: dict[str, Found | None] = {}
        self.is_cut = False

    def decisions(self, until: Position | None) -> list[Found]:
        """The newest events of the device's stream up to a position, the oldest first."""
        return self._stream(stream_of(self._device_id), until)

    def releases(self, product_id: int, until: Position | None) -> list[Found]:
        """The same of the product's firmware."""
        return self._stream(f"firmware-{product_id}", until)

    def at(self, position: int) -> Found | None:
        """The event of this device at a position that its row names; None if it was forgotten or is not to be seen."""
        try:
            found = self._found(self._store.at(Position(position)))
        except NotFound:
            self.is_cut = True
            return None
        return found if found is not None and _is_of(found.event, self._device_id) else None

    def ending(self, ended: Found | None) -> Found | None:
        """What ended the run of a gateway that could not end this session itself (DEV-7)."""
        if ended is None or not isinstance(ended.event, DeviceDisconnected) or ended.event.reason != "gateway_lost":
            return None
        epoch = ended.event.epoch
        life = self._stream(f"gateway-{ended.event.gateway}", Position(ended.position))
        return next((found for found in life if _ends(found.event, epoch)), None)

    def whole(self, chain: Iterable[Found]) -> list[Found]:
        """The chain with what its events answered, oldest first, at most ``MAX_LINKS``."""
        links = list(chain)
        for found in tuple(links):
            links += self._causes(found)
        ordered = in_order(links)
        self.is_cut = self.is_cut or len(ordered) > MAX_LINKS
        return ordered[-MAX_LINKS:]

    def _causes(self, found: Found) -> list[Found]:
        causes: list[Found] = []
        cause = self._answer(found)
        while cause is not None and len(causes) < MAX_CAUSES:
            causes.append(cause)
            cause = self._answer(cause)
        return causes

    def _answer(self, found: Found) -> Found | None:
        """The event that this one was the answer to."""
        if found.cause is None:
            return None
        if found.cause not in self._answered:
            self._answered[found.cause] = self._look(found, found.cause)
        return self._answered[found.cause]

    def _look(self, found: Found, cause: str) -> Found | None:
        stream, _, version = (found.place or _import_of(found)).rpartition("@")
        if not stream or not (version.isascii() and version.isdigit()) or self._looks >= MAX_LOOKS:
            return None
        self._looks += 1
        there = self._read(stream, int(version), 1, backwards=False)
        return self._found(there[0]) if there and str(there[0].id) == cause else None

    def _stream(self, stream: str, until: Position | None) -> list[Found]:
        recorded = self._read(stream, -1, MAX_EVENTS, backwards=True)
        self.is_cut = self.is_cut or (bool(recorded) and recorded[-1].version > 0)
        found = (self._found(event) for event in reversed(recorded) if until is None or event.position <= until)
        return [event for event in found if event is not None]

    def _read(self, stream: str, first: int, limit: int, *, backwards: bool) -> list[Recorded]:
        try:
            return self._store.read(stream, first, limit, backwards=backwards)
        except (StreamNotFound, StreamTombstoned):
            return []

    def _found(self, recorded: Recorded) -> Found | None:
        """None for what this release does not know, and for what is another product's."""
        try:
            event, meta = self._contracts.decode(recorded), metadata(recorded)
        except (UnknownEvent, msgspec.MsgspecError):
            self.is_cut = True
            return None
        of_product = getattr(event, "product_id", None)
        if self._product_id is not None and of_product not in (None, self._product_id):
            return None
        return Found(
            event=event,
            type=recorded.type,
            at=recorded.at,
            stream=recorded.stream,
            version=recorded.version,
            position=recorded.position,
            event_id=str(recorded.id),
            actor=meta.actor,
            command_id=meta.command,
            correlation_id=meta.correlation,
            cause=meta.causation,
            place=meta.causation_place,
            source=meta.source,
        )


def _is_of(event: object, device_id: str) -> bool:
    if isinstance(event, RolloutTurnsGiven):
        return device_id in event.devices or device_id in event.again
    return getattr(event, "device_id", None) == device_id


def _ends(event: object, epoch: int) -> bool:
    match event:
        case GatewayStarted():
            return event.epoch > epoch
        case GatewayStopped() | GatewayLost():
            return event.epoch == epoch
    return False


def _import_of(found: Found) -> str:
    """The start of the import that a device was imported by, whose id is made of the first command of the chain: so
    a million devices need not carry the place. Whether it is the cause, its id says."""
    try:
        return f"{import_stream(record_id(UUID(found.correlation_id), 'import'))}@0"
    except ValueError:
        return ""
