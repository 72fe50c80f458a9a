"""Who may connect now: the directory as device protocols see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from services.gateway.directory import Directory
from services.gateway.entries import AuthorityEntry, DesiredEntry, DeviceEntry, ImageEntry, ProductEntry
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
        if entry is not None:
            self._check(entry.device_id)
        return entry

    def device_by_key(self, key_digest: str) -> DeviceEntry | None:
        """Raises ``Unavailable`` likewise."""
        entry = self._directory.device_by_key(key_digest)
        if entry is not None:
            self._check(entry.device_id)
        return entry

    def device_by_certificate(self, fingerprint: str, org_id: str | None = None) -> DeviceEntry | None:
        """Raises ``Unavailable`` likewise."""
        entry = self._directory.device_by_certificate(fingerprint, org_id)
        if entry is not None:
            self._check(entry.device_id)
        return entry

    def admit_device(self, device_id: str) -> DeviceEntry | None:
        """The device of this ID, known or not, which wants to come in. Raises ``Unavailable`` likewise."""
        self._check(device_id)
        return self._directory.device(device_id)

    def _check(self, device_id: str) -> None:
        if device_id not in self.inside and not self._life.alive:
            raise Unavailable("the event store is not reachable")

    def device(self, device_id: str) -> DeviceEntry | None:
        """As the directory's."""
        return self._directory.device(device_id)

    def product(self, ref: str) -> ProductEntry | None:
        """As the directory's."""
        return self._directory.product(ref)

    def product_by_provisioning_key(self, key: str) -> ProductEntry | None:
        """As the directory's."""
        return self._directory.product_by_provisioning_key(key)

    @property
    def authorities_revision(self) -> int:
        """As the directory's."""
        return self._directory.authorities_revision

    def authorities(self) -> list[AuthorityEntry]:
        """As the directory's."""
        return self._directory.authorities()

    def product_by_firmware_name(self, name: str) -> ProductEntry | None:
        """As the directory's."""
        return self._directory.product_by_firmware_name(name)

    def reported(self, device_id: str) -> Mapping[str, tuple[Any, int]]:
        """As the directory's."""
        return self._directory.reported(device_id)

    def desired(self, device_id: str) -> DesiredEntry:
        """As the directory's."""
        return self._directory.desired(device_id)

    def desired_revision(self, device_id: str) -> int:
        """As the directory's."""
        return self._directory.desired_revision(device_id)

    def image(self, product_id: int, version: int) -> ImageEntry | None:
        """As the directory's."""
        return self._directory.image(product_id, version)
