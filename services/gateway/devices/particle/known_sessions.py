"""Stored sessions as far as they may go on now: none does while the gateway stops, or while its facts wait too long to
be stored; they stay where they are."""

from __future__ import annotations

from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.session import StoredSession
from services.gateway.devices.particle.session_store import SessionStore
from services.gateway.devices.server import DeviceServer


class KnownSessions:
    """What the endpoint asks for sessions that are not in memory."""

    def __init__(self, server: DeviceServer, store: SessionStore) -> None:
        self._server = server
        self._store = store

    @property
    def _closed(self) -> bool:
        return self._server.draining or self._server.admissions.behind

    def of_device(self, device_id: bytes) -> StoredSession | None:
        """The session of a device."""
        return None if self._closed else self._store.of_device(device_id)

    def of_connection(self, connection_id: bytes) -> StoredSession | None:
        """The session with a connection id."""
        return None if self._closed else self._store.of_connection(connection_id)

    def at_address(self, address: Address) -> StoredSession | None:
        """The last session at an address."""
        return None if self._closed else self._store.at_address(address)
