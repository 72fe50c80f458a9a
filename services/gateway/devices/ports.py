"""What device protocols need of the rest of the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from services.gateway.entries import DeviceEntry, ImageEntry, ProductEntry
from shared.events.gateway import DevicePublished

if TYPE_CHECKING:
    import asyncio  # the session machine imports this module and must not need a loop


class Directory(Protocol):
    """Synchronous look-ups of microseconds; each sees what was committed before it."""

    def device_by_token(self, token_digest: str) -> DeviceEntry | None: ...

    def device(self, device_id: str) -> DeviceEntry | None: ...

    def product(self, ref: str) -> ProductEntry | None: ...

    def image(self, product_id: int, version: int) -> ImageEntry | None: ...


class Facts(Protocol):
    """Facts about connections and updates."""

    def record(self, event: object, *, actor: str) -> asyncio.Future[None]:
        """Done when it is durable; ``Unavailable`` after 10 s. Facts keep their order."""
        ...


class Log(Protocol):
    """What devices publish."""

    def publish(self, event: DevicePublished) -> asyncio.Future[None]:
        """Done when it is durable; ``Unavailable`` after 10 s. The order is kept."""
        ...


class Blobs(Protocol):
    """Firmware images by digest."""

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on. Blocks; raises ``FlotillaError`` or ``OSError``."""
        ...
