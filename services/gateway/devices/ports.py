"""What device protocols need of the rest of the gateway."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Protocol

from services.gateway.entries import AuthorityEntry, DesiredEntry, DeviceEntry, ImageEntry, ProductEntry
from shared.context import Context
from shared.events.gateway import DevicePublished


class Stored(Protocol):
    """What becomes of something that is to be durable, told as an ``asyncio.Future`` tells it."""

    def __await__(self) -> Generator[Any, None, None]: ...

    def add_done_callback(self, callback: Callable[[Any], object], /) -> None:
        """Call it once this is known, never before this returns."""
        ...

    def cancelled(self) -> bool: ...

    def exception(self) -> BaseException | None:
        """Why it is not durable."""
        ...


class Directory(Protocol):
    """Synchronous look-ups of microseconds; each sees what was committed before it."""

    def device_by_token(self, token_digest: str) -> DeviceEntry | None: ...

    def device_by_key(self, key_digest: str) -> DeviceEntry | None: ...

    def device_by_certificate(self, fingerprint: str, org_id: str | None = None) -> DeviceEntry | None: ...

    def admit_device(self, device_id: str) -> DeviceEntry | None:
        """As ``device``, for one that wants to come in."""
        ...

    @property
    def authorities_revision(self) -> int:
        """Rises whenever ``authorities`` may have another answer."""
        ...

    def authorities(self) -> list[AuthorityEntry]: ...

    def product_by_provisioning_key(self, key: str) -> ProductEntry | None: ...

    def device(self, device_id: str) -> DeviceEntry | None: ...

    def product(self, ref: str) -> ProductEntry | None: ...

    def product_by_firmware_name(self, name: str) -> ProductEntry | None: ...

    def image(self, product_id: int, version: int) -> ImageEntry | None: ...

    def reported(self, device_id: str) -> Mapping[str, tuple[Any, int]]:
        """Attributes that the device reported: name to value and since when, in microseconds since 1970."""
        ...

    def desired(self, device_id: str) -> DesiredEntry: ...

    def desired_revision(self, device_id: str) -> int: ...


class Provisioner(Protocol):
    """Lets devices in that have shown their product's secret."""

    async def provision(
        self, product_id: int, device_name: str | None, token_digest: str | None, fingerprint: str | None, create: bool
    ) -> str:
        """The device's ID, when it can connect here. Raises ``Refused``, ``NotFound``, ``Unavailable``."""
        ...


class Facts(Protocol):
    """Facts about connections and updates."""

    def record(self, event: object, *, actor: str, context: Context | None = None) -> Stored:
        """Done when it is durable; ``Unavailable`` after 10 s. Facts keep their order. ``context``: whose command it
        is a fact of."""
        ...


class Log(Protocol):
    """What devices publish."""

    def publish(self, event: DevicePublished) -> Stored:
        """Done when it is durable; ``Unavailable`` after 10 s. The order is kept."""
        ...


class Latest(Protocol):
    """The latest values that devices published here as telemetry (MQU-1)."""

    def value(self, device_id: str, key: str) -> tuple[Any, int] | None:
        """Value and time, in microseconds since 1970; microseconds to look up."""
        ...


class Blobs(Protocol):
    """Firmware images by digest."""

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        """At most ``length`` bytes from ``offset`` on. Blocks; raises ``FlotillaError`` or ``OSError``."""
        ...
