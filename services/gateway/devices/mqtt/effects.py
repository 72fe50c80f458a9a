"""What the MQTT session machine wants done beyond what those of all protocols do. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.devices.effects import Answer, Close, Record, Store


@dataclass(frozen=True, slots=True)
class Serve:
    """``head``, then ``length`` bytes of an image from ``offset`` on; ``instead``, if the image cannot be read."""

    head: bytes
    sha256: str
    offset: int
    length: int
    instead: bytes


@dataclass(frozen=True, slots=True)
class Provision:
    """Let the device in that showed its product's secret: by a token or by a certificate. The machine is to be told
    what came of it."""

    product_id: int
    device_name: str | None
    token_digest: str | None
    fingerprint: str | None
    create: bool


@dataclass(frozen=True, slots=True)
class WrongSecret:
    """Counts as a refused log-in."""


Effect = bytes | Record | Store | Serve | Answer | Provision | WrongSecret | Close
