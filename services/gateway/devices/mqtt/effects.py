"""What the session machine wants done, in order; plain bytes are to be sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

from shared.events.gateway import DevicePublished

Ending = Literal["disconnected", "connection_lost", "keepalive", "kicked", "draining", "misbehaved"]


class Now(NamedTuple):
    """A moment twice: ``s``, seconds of a clock that never goes back, and ``at``, the time of day in UTC."""

    s: float
    at: datetime


class Ack:
    """An acknowledgement to send when the events that its message caused are durable, behind those before it."""

    __slots__ = ("packet", "waiting")

    def __init__(self, packet: bytes, waiting: int) -> None:
        self.packet = packet
        self.waiting = waiting


@dataclass(frozen=True, slots=True)
class Record:
    """A fact to record. ``vital``: the connection ends if it cannot be."""

    event: object
    ack: Ack | None = None
    vital: bool = False


@dataclass(frozen=True, slots=True)
class Store:
    """A published event to log."""

    event: DevicePublished
    ack: Ack | None = None


@dataclass(frozen=True, slots=True)
class Serve:
    """``head``, then ``length`` bytes of an image from ``offset`` on; ``instead``, if the image cannot be read."""

    head: bytes
    sha256: str
    offset: int
    length: int
    instead: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Send the packet, which may be empty, and end the connection."""

    packet: bytes
    ending: Ending


Effect = bytes | Record | Store | Serve | Close
