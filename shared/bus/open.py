"""From a URL to a bus."""

from __future__ import annotations

from pathlib import Path

from shared.bus import address
from shared.bus.amqp import AmqpTransport
from shared.bus.client import AmqpBus, AsyncBus, LocalBus
from shared.bus.local import LocalTransport
from shared.bus.transport import Transport


def open_transport(url: str, *, name: str) -> Transport:
    """``local:`` (one for the whole process; ``local:/folder`` keeps parked messages there) or ``amqp://…`` (see
    ``address``). ``name`` is shown by the broker. Raises ``Refused`` (``bad_setting``) for any other URL."""
    if url.startswith("local:"):
        folder = url.removeprefix("local:")
        return LocalTransport(name, parked=Path(folder) if folder else None)
    return AmqpTransport(_checked(url), name)


def open_bus(transport_or_url: Transport | str, *, name: str = "gateway") -> AsyncBus:
    """The bus for asyncio code: in-process over a local transport, else over a connection of its own."""
    if isinstance(transport_or_url, AmqpTransport):
        return AmqpBus(transport_or_url.url, name)
    if isinstance(transport_or_url, str):
        return AmqpBus(_checked(transport_or_url), name)
    return LocalBus(transport_or_url, name)


def _checked(url: str) -> str:
    address.parse(url)
    return url
