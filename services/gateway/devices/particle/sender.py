"""The sender of one firmware image to one device over the air (protocol section 7), whatever the firmware. Pure.

A session makes one with ``sender_of`` when ``Transfers`` lets it begin, and drives it as ``sending.py`` says.
"""

from __future__ import annotations

from typing import Protocol

from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.sender_classic import ClassicSender
from services.gateway.devices.particle.sender_v3 import SenderV3
from services.gateway.devices.particle.sending import Effect, Numbers, Plan


class Sender(Protocol):
    """Every method answers with what is to be done now, in order; none raises."""

    @property
    def over(self) -> bool:
        """Whether it was refused, failed or was delivered; it may still be fed."""
        ...

    def start(self, now: float) -> list[Effect]:
        """Offer the update. Called once."""
        ...

    def receive(self, message: Message, now: float) -> list[Effect] | None:
        """A message of the device; None if it is not for the sender. It takes answers to its own requests and their
        acknowledgements, lists of chunks, the device's own ``PUT /u``, the event ``spark/device/ota_result``, and
        errors with a code that come without being asked for: so answers to other requests of the session are not to
        be shown to it."""
        ...

    def supply(self, offset: int, data: bytes | memoryview | None, now: float) -> list[Effect]:
        """Bytes of the image from ``offset`` on, as ``Need`` asked; None if it cannot be read."""
        ...

    def tick(self, now: float) -> list[Effect]:
        """Time has passed; harmless when nothing is due."""
        ...

    def wake_at(self) -> float | None:
        """When ``tick`` has something to do, if nothing happens before; None if it waits for ``supply`` or is over."""
        ...

    def cancel(self, now: float) -> list[Effect]:
        """Give the transfer up, because the target was withdrawn. Devices of protocol 3 are told; others notice within
        five minutes and restart."""
        ...


def sender_of(plan: Plan, numbers: Numbers) -> Sender:
    """The sender that this device understands."""
    return SenderV3(plan, numbers) if plan.v3 else ClassicSender(plan, numbers)
