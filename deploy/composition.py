"""Which parts make a platform: the only module that knows all services at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.broker import distributed_bus
from services.billing import bootstrap as billing
from services.billing.service import BillingService
from services.devices import bootstrap as devices
from services.devices.service import DevicesService
from services.firmware import bootstrap as firmware
from services.firmware.service import FirmwareService
from services.hooks import bootstrap as hooks
from services.hooks.service import HooksService
from services.orgs import bootstrap as orgs
from services.orgs.service import OrgsService
from shared.bus.host import declare_queues
from shared.bus.open import open_transport
from shared.errors import Refused
from shared.runtime import Owner, Part, Runtime
from shared.settings import Settings
from shared.store.open import open_store

if TYPE_CHECKING:
    from services.gateway.bootstrap import GatewayPart
    from services.gateway.http.ports import Limits

SERVICES = {
    "orgs": orgs.build,
    "billing": billing.build,
    "firmware": firmware.build,
    "devices": devices.build,
    "hooks": hooks.build,
}
"""In the order in which they start: whoever is asked by others comes first."""

CLASSES = (OrgsService, BillingService, FirmwareService, DevicesService, HooksService)
"""Whichever process comes first lets the queues of all exist, so that no event is published before its queue."""


def embedded(settings: Settings, *, limits: Limits | None = None) -> tuple[Runtime, GatewayPart]:
    """All services and one gateway in this process, over ``local:``; the second of the pair knows the ports."""
    from deploy.messages_command import parked_folder, resender  # deferred: the process of one service needs none of it
    from deploy.replays import replayer, replays_folder
    from services.gateway.bootstrap import GatewayPart

    store = open_store(settings.store)
    folder = parked_folder(settings)
    transport = open_transport(f"local:{folder}", name="bus in this process")
    parts: list[Part] = [Owner("event store", store.close), transport]
    parts += [build(settings, transport, store) for build in SERVICES.values()]
    gateway_part = GatewayPart(settings, store, transport, limits=limits)
    replays = replayer(store, transport, replays_folder(settings), by_name())
    return Runtime("flotilla", [*parts, resender(transport, folder), replays, gateway_part]), gateway_part


def by_name() -> dict[str, type]:
    """The classes of all services."""
    return {service_class.name: service_class for service_class in CLASSES}


def service(name: str, settings: Settings) -> Runtime:
    """One service as a process of its own."""
    if name not in SERVICES:
        raise Refused("unknown_service", f"{name!r} is no service; there are {', '.join(SERVICES)}")
    store = open_store(settings.store)
    transport = open_transport(distributed_bus(settings), name=name)
    declare_queues(transport, CLASSES)
    return Runtime(name, [Owner("event store", store.close), transport, SERVICES[name](settings, transport, store)])
