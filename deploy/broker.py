"""The broker of processes that share a platform."""

from __future__ import annotations

from shared.bus.address import with_queues
from shared.errors import Refused
from shared.settings import Settings


def distributed_bus(settings: Settings) -> str:
    """The broker's URL, with the kind of queues that was asked for."""
    if settings.bus == "local:":
        raise Refused("bad_setting", "a process of its own needs FLOTILLA_BUS=amqp://…; `local:` is for one process")
    return with_queues(settings.bus, settings.queues)
