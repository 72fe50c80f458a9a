"""Which events a reader of an event stream wants, and where the log keeps them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from services.gateway.entries import DeviceEntry
from services.gateway.live import PublishedEvent
from shared.events.gateway import ServerPublished


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events; all that is given must hold, and at least one of the first four must be given. ``owner_id``: of
    devices that belong to this account or customer in the moment of the event. ``public``: with ``owner_id``, the
    public events of all others, too."""

    product_id: int | None = None
    org_id: str | None = None
    device_id: str | None = None
    owner_id: str | None = None
    prefix: str = ""
    public: bool = False

    def takes(self, event: PublishedEvent, org_id: str | None, owner_id: str | None) -> bool:
        """Whether it wants this event of a product; with it, whose the product is, and whose the device."""
        return (
            event.name.startswith(self.prefix)
            and self.device_id in (None, event.coreid)
            and self.product_id in (None, event.product_id)
            and self.org_id in (None, org_id)
            and (self.owner_id in (None, owner_id) or (self.public and event.public))
        )

    def takes_own(self, event: ServerPublished) -> bool:
        """Whether it wants this event that somebody published to their own streams. What customers of a company read
        is what was published as its customer: one account may be a customer of several (CUS-5)."""
        theirs = self.owner_id == event.owner_id and (self.org_id is None or self._is_of_company(event))
        others = self.public and event.public and self.org_id is None
        return event.name.startswith(self.prefix) and self.device_id is None and (theirs or others)

    def _is_of_company(self, event: ServerPublished) -> bool:
        same_product = self.product_id is None or event.for_product_id in (None, self.product_id)
        return self.org_id == event.for_org_id and same_product


def of_owner(event: PublishedEvent, device: DeviceEntry | None) -> PublishedEvent:
    """The same with whose the device is, if it is anybody's."""
    return event if device is None or device.owner_id is None else replace(event, owner_id=device.owner_id)


def log_stream(product_id: int) -> str:
    """The stream of a product's log."""
    return f"log-{product_id}"


def own_log_stream(owner_id: str | None) -> str:
    """The stream of what somebody published to their own streams."""
    return f"log-owner-{owner_id}"


def streams_of(wanted: EventFilter, products: Iterable[int]) -> tuple[str, ...]:
    """The streams of a log that hold all that this reader wants; ``products`` are those of its organization or owner,
    where it names no product."""
    named = products if wanted.product_id is None else (wanted.product_id,)
    streams = [log_stream(product_id) for product_id in sorted(named)]
    if wanted.owner_id is not None and wanted.device_id is None:
        streams.append(own_log_stream(wanted.owner_id))
    return tuple(streams)
