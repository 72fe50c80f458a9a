"""Devices that ask for something to authenticate with, handed on to the ``devices`` service (MQTT section 8)."""

from __future__ import annotations

from typing import Any, Protocol

from shared.context import Context
from shared.errors import Unknown
from shared.store.port import Position

ANSWER_S = 10.0
VISIBLE_S = 10.0
"""How long the directory may take until it knows the device."""
ATTEMPTS = 2
"""How often the service is asked, the answer of which did not come: the command is the same, so it does no more."""


class Bus(Protocol):
    """Calls to services."""

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = 10.0, **arguments: Any
    ) -> Any: ...


class Directory(Protocol):
    """The gateway's directory."""

    async def wait_for(self, position: Position | None, timeout_s: float) -> bool: ...


class Provisioner:
    """``devices.ports.Provisioner`` over the bus."""

    def __init__(self, gateway: str, bus: Bus, directory: Directory) -> None:
        self._source = f"gateway:{gateway}"
        self._bus = bus
        self._directory = directory

    async def provision(
        self, product_id: int, device_name: str | None, token_digest: str | None, fingerprint: str | None, create: bool
    ) -> str:
        """The device's ID, when the directory here knows the device, so that it can connect at once. Raises what the
        service raises, ``Unavailable``, and ``Unknown`` if nobody can say whether it was let in."""
        context = Context.new("system:gateway", self._source)
        arguments = {
            "product_id": product_id,
            "device_name": device_name,
            "token_digest": token_digest,
            "fingerprint": fingerprint,
            "create": create,
        }
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer = await self._bus.call("devices", "provision", context, timeout_s=ANSWER_S, **arguments)
                break
            except Unknown:
                if attempt == ATTEMPTS:
                    raise
        position = answer["position"]
        await self._directory.wait_for(None if position is None else Position(int(position)), VISIBLE_S)
        device_id: str = answer["device_id"]
        return device_id
