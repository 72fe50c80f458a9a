"""What an endpoint tells the layer above, and the store it asks for sessions."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.session import Session, StoredSession


class Established(NamedTuple):
    """A handshake succeeded: the peer has the private key of ``public_key`` (DER). Say whose it is with ``bind``."""

    session: Session
    public_key: bytes
    address: Address


class Restored(NamedTuple):
    """A stored session continues; comes before what was received. ``session.extra`` is what was stored with it."""

    session: Session
    address: Address


class Received(NamedTuple):
    """Application data."""

    session: Session
    content: bytes
    address: Address


class Moved(NamedTuple):
    """The peer sends from another address now; answers go there."""

    session: Session
    old: Address | None
    new: Address


class Closed(NamedTuple):
    """The session is gone: ``close_notify``, ``alert`` (fatal, of the peer), ``replaced`` (by a newer one of the same
    device), ``unbound`` (nobody said whose it is). What is stored of it must go, too."""

    session: Session
    reason: str


class SaveDue(NamedTuple):
    """Export and store the session, durably, before sending more through it (``session``)."""

    session: Session


Event = Established | Restored | Received | Moved | Closed | SaveDue


class Output(NamedTuple):
    """Datagrams to send, with their addresses, and what happened, in order."""

    datagrams: list[tuple[bytes, Address]]
    events: list[Event]


class StoredSessions(Protocol):
    """Where sessions are found that are not in memory. Answers at once; one without device id does not count."""

    def of_device(self, device_id: bytes) -> StoredSession | None:
        """The session of a device: it continues from elsewhere, firmware up to 2.x."""
        ...

    def of_connection(self, connection_id: bytes) -> StoredSession | None:
        """The session with a connection id, firmware from 3.x."""
        ...

    def at_address(self, address: Address) -> StoredSession | None:
        """The last session at an address: the device of firmware up to 2.x does not notice that we restarted."""
        ...


class NothingStored:
    """Every device begins anew after a restart."""

    def of_device(self, device_id: bytes) -> StoredSession | None:
        """None."""

    def of_connection(self, connection_id: bytes) -> StoredSession | None:
        """None."""

    def at_address(self, address: Address) -> StoredSession | None:
        """None."""
