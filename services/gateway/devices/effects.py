"""What session machines of every protocol want done, in order; plain bytes are to be sent. Pure.

What is made for every message is a struct of msgspec, which takes a fifth of a frozen dataclass's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from shared.errors import Refused
from shared.events.gateway import DevicePublished

Ending = Literal["disconnected", "connection_lost", "keepalive", "kicked", "draining", "misbehaved"]


class Now(NamedTuple):
    """A moment twice: ``s``, seconds of a clock that never goes back, and ``at``, the time of day in UTC."""

    s: float
    at: datetime


class SessionName(NamedTuple):
    """What names a session all over the installation."""

    gateway: str
    epoch: int
    session: int


class Ack:
    """An acknowledgement to send when the events that its message caused are durable, behind those before it."""

    __slots__ = ("packet", "waiting")

    def __init__(self, packet: bytes, waiting: int) -> None:
        self.packet = packet
        self.waiting = waiting


class Record(msgspec.Struct, frozen=True, gc=False):
    """A fact to record. ``vital``: the connection ends if it cannot be."""

    event: object
    ack: Ack | None = None
    vital: bool = False


class Store(msgspec.Struct, frozen=True, gc=False):
    """A published event to log."""

    event: DevicePublished
    ack: Ack | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of the question of this number: a JSON value, or why there is none."""

    number: int
    outcome: Any | Refused


@dataclass(frozen=True, slots=True)
class Close:
    """Send the packet, which may be empty, and end the connection."""

    packet: bytes
    ending: Ending
