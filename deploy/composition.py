"""Which parts make a platform: the only module that knows all services at once."""

from __future__ import annotations

from collections.abc import Callable

from services.gateway.bootstrap import GatewayPart
from shared.bus.open import open_transport
from shared.store.open import open_store

from services.billing import bootstrap as billing
from services.devices import bootstrap as devices
from services.firmware import bootstrap as firmware
from services.orgs import bootstrap as orgs
from shared.errors import Refused
from shared.runtime import Part, Runtime
from shared.settings import Settings

SERVICES = {
    "orgs": orgs.build,
    "billing": billing.build,
    "firmware": firmware.build,
    "devices": devices.build,
}
"""In the order in which they start: whoever is asked by others comes first."""


class StoreOwner:
    """Keeps the store open as long as the parts behind it run."""

    name = "event store"

    def __init__(self, close: Callable[[], None]) -> None:
        self._close = close

    def start(self) -> None:
        """Opened already."""

    def stop(self) -> None:
        """Close it."""
        self._close()


def embedded(settings: Settings) -> tuple[Runtime, GatewayPart]:
    """All services and one gateway in this process, over ``local:``; the second of the pair knows the ports."""
    store = open_store(settings.store)
    transport = open_transport("local:", name="flotilla")
    parts: list[Part] = [StoreOwner(store.close), transport]
    parts += [build(settings, transport, store) for build in SERVICES.values()]
    gateway_part = GatewayPart(settings, store, transport)
    return Runtime("flotilla", [*parts, gateway_part]), gateway_part


def service(name: str, settings: Settings) -> Runtime:
    """One service as a process of its own."""
    if name not in SERVICES:
        raise Refused("unknown_service", f"{name!r} is no service; there are {', '.join(SERVICES)}")
    store = open_store(settings.store)
    transport = open_transport(_broker(settings), name=name)
    return Runtime(name, [StoreOwner(store.close), transport, SERVICES[name](settings, transport, store)])


def gateway(settings: Settings) -> tuple[Runtime, GatewayPart]:
    """One gateway as a process of its own; the second of the pair knows the ports."""
    store = open_store(settings.store)
    part = GatewayPart(settings, store, _broker(settings))
    return Runtime(f"gateway-{settings.gateway}", [StoreOwner(store.close), part]), part


def _broker(settings: Settings) -> str:
    if settings.bus == "local:":
        raise Refused("bad_setting", "a process of its own needs FLOTILLA_BUS=amqp://…; `local:` is for one process")
    return settings.bus
