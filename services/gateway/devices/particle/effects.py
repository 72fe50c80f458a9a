"""What a Particle session wants done: what is common to all protocols, and what only this one knows. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.devices.effects import Answer, Close, Record, Store
from services.gateway.devices.subscriptions import Wanted


@dataclass(frozen=True, slots=True)
class Once:
    """A message that the message layer of UDP is not to repeat: whoever made it does."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Fetch:
    """Bytes of an image: ``Session.supply`` is to be called with at least some of them, now or later."""

    sha256: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Listen:
    """The device wants events like these from now on, and no others."""

    wanted: frozenset[Wanted]


Effect = bytes | Once | Record | Store | Answer | Fetch | Listen | Close
"""Plain bytes are one CoAP message to send."""
