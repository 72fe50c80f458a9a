"""Who may connect now: the directory as device protocols see it."""

from __future__ import annotations

from typing import Protocol

from services.gateway.directory import Directory
from services.gateway.entries import DeviceEntry, ImageEntry, ProductEntry
from services.gateway.life import Life
from shared.errors import Unavailable


class Inside(Protocol):
    """The devices that are connected."""

    def __contains__(self, device_id: str, /) -> bool: ...


class Gate:
    """Lets nobody new in while the store has taken no beat within the lease: by then the devices service may have put
    everybody here offline, and nobody could be told that somebody came. Those who are ``inside`` stay."""

    def __init__(self, directory: Directory, life: Life) -> None:
        self.inside: Inside = frozenset[str]()
        self._directory = directory
        self._life = life

    def device_by_token(self, token_digest: str) -> DeviceEntry | None:
        """Raises ``Unavailable`` for devices that are not inside while the gate is closed."""
        entry = self._directory.device_by_token(token_digest)
        if entry is not None and entry.device_id not in self.inside and not self._life.alive:
            raise Unavailable("the event store is not reachable")
        return entry

    def device(self, device_id: str) -> DeviceEntry | None:
        """As the directory's."""
        return self._directory.device(device_id)

    def product(self, ref: str) -> ProductEntry | None:
        """As the directory's."""
        return self._directory.product(ref)

    def image(self, product_id: int, version: int) -> ImageEntry | None:
        """As the directory's."""
        return self._directory.image(product_id, version)
