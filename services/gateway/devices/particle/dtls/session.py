"""An established association: seals and opens records, and can be stored and continued. Device protocol, 8.2-8.5.

**A send number is never used twice**, even if the process dies: a restored session jumps ``SEND_JUMP`` ahead of what
was stored, so no more than that may be sent between two exports. ``save_due`` says when the next export is due;
``seal`` raises ``Misuse`` when it is overdue, also on a restored session that was not exported since. An export counts
from the moment it is made: store it durably before sending what is sealed after it, which who stores it can see to with
``sends_before``. Longer than 150 lines, because
numbers, window and export keep that promise together.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.key_schedule import Secrets, expand
from services.gateway.devices.particle.dtls.protection import Protection
from services.gateway.devices.particle.dtls.records import (
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    MAX_SEQUENCE,
    Record,
    encode,
    number_of,
)
from services.gateway.devices.particle.dtls.refusals import Discarded
from services.gateway.devices.particle.dtls.window import ReplayWindow
from shared.errors import Misuse

EPOCH = 1
"""The only epoch of a session: nothing renegotiates."""
SEND_JUMP = 1_000
"""How many send numbers a restored session skips (8.5)."""
RECEIVED_BEFORE_SAVE = 64
"""After so many received records the window in the store is old: they could be replayed to a restored session."""


class StoredSession(msgspec.Struct, frozen=True, kw_only=True):
    """All that continues a session (8.5); a secret, to be kept encrypted. Found by device id, connection id, address.

    ``extra`` belongs to the layer above: message ids, subscriptions, description.
    """

    master_secret: bytes
    client_random: bytes
    server_random: bytes
    connection_id: bytes
    public_key: bytes
    device_id: bytes
    address: Address | None
    epoch: int
    send_sequence: int
    received_highest: int
    received_bits: int
    extra: bytes

    def __repr__(self) -> str:
        return f"StoredSession(device_id={self.device_id.hex()!r}, ...)"


class Finale(NamedTuple):
    """What ended the handshake: repeated while the peer may not have it. ``asked_by`` is the peer's Finished."""

    asked_by: bytes
    finished: bytes


class Session:
    """One end of an association: the server's, or the device's if ``is_device``.

    ``connection_id`` is the one that records of the device carry, empty for older firmware. ``public_key`` is the
    device's, DER. ``device_id`` and ``extra`` are set by the layer above, ``address`` by the endpoint, ``sends_before``
    by who stores it: the send number that a session restored from what is on disk by now would begin with.
    """

    __slots__ = (
        "_allowed",
        "_epoch0_sequence",
        "_finale",
        "_incoming",
        "_outgoing",
        "_unsaved",
        "_window",
        "address",
        "connection_id",
        "device_id",
        "extra",
        "is_device",
        "public_key",
        "secrets",
        "send_sequence",
        "sends_before",
    )

    def __init__(
        self,
        secrets: Secrets,
        *,
        connection_id: bytes = b"",
        public_key: bytes = b"",
        is_device: bool = False,
    ) -> None:
        keys = expand(secrets)
        device = Protection(keys.client_key, keys.client_iv)
        server = Protection(keys.server_key, keys.server_iv)
        self.is_device = is_device
        self._outgoing, self._incoming = (device, server) if is_device else (server, device)
        self.secrets = secrets
        self.connection_id = connection_id
        self.public_key = public_key
        self.device_id = b""
        self.extra = b""
        self.address: Address | None = None
        self.send_sequence = 0
        self.sends_before = MAX_SEQUENCE
        self._allowed = MAX_SEQUENCE  # how far send_sequence may rise: no export, nothing to repeat
        self._window = ReplayWindow()
        self._unsaved = 0
        self._finale: Finale | None = None
        self._epoch0_sequence = 0

    def seal(self, content: bytes, content_type: int = APPLICATION_DATA) -> bytes:
        """The datagram with this content. Raises ``Misuse`` if the session must be exported first."""
        sequence = self.send_sequence
        if not self.may_send:
            raise Misuse("a stored session sends only after it was exported again")
        self.send_sequence = sequence + 1
        number = number_of(EPOCH, sequence)
        if self.is_device and self.connection_id:
            return self._outgoing.seal_with_id(content_type, number, content, self.connection_id)
        return self._outgoing.seal(content_type, number, content)

    def open(self, record: Record) -> tuple[int, bytes]:
        """Content type and content of a record that was not received before. Raises ``Discarded``."""
        if record.epoch != EPOCH:
            raise Discarded("epoch")
        if record.connection_id != (b"" if self.is_device else self.connection_id):
            raise Discarded("connection_id")
        if not self._window.is_fresh(record.sequence):
            raise Discarded("replayed")
        opened = self._incoming.open(record)
        self._window.mark(record.sequence)
        self._unsaved += 1
        return opened

    def is_newest(self, record: Record) -> bool:
        """Whether no later record was received: only then does its address say where the peer is now."""
        return record.sequence == self._window.highest

    @property
    def may_send(self) -> bool:
        """Whether ``seal`` works: not on a stored session that must be exported, or on disk, first."""
        return self.send_sequence < min(self._allowed, self.sends_before)

    @property
    def save_due(self) -> bool:
        """Whether a stored session should be exported: at the latest now it is half-way to where it must be."""
        if self._allowed == MAX_SEQUENCE:
            return False
        return self._allowed - self.send_sequence <= SEND_JUMP // 2 or self._unsaved >= RECEIVED_BEFORE_SAVE

    def finish(self, finale: Finale, epoch0_sequence: int) -> list[bytes]:
        """The last two datagrams of the handshake, which are also repeated when asked for."""
        self._finale = finale
        self._epoch0_sequence = epoch0_sequence
        return self._last_flight(finale)

    def answer_handshake(self, content: bytes) -> list[bytes]:
        """What a handshake record of the peer asks for: the last flight again if it repeats its Finished."""
        if self._finale is None or content != self._finale.asked_by:
            raise Discarded("renegotiation")
        if not self.may_send:
            raise Discarded("unsaved")
        return self._last_flight(self._finale)

    def forget_handshake(self) -> None:
        """The peer has our Finished, as it sends data."""
        self._finale = None

    def _last_flight(self, finale: Finale) -> list[bytes]:
        number = number_of(0, self._epoch0_sequence)
        self._epoch0_sequence += 1
        return [encode(CHANGE_CIPHER_SPEC, number, b"\x01"), self.seal(finale.finished, HANDSHAKE)]

    def export(self) -> StoredSession:
        """What ``restore`` continues; allows ``SEND_JUMP`` further records to be sent."""
        self._allowed = self.send_sequence + SEND_JUMP
        self._unsaved = 0
        return StoredSession(
            master_secret=self.secrets.master_secret,
            client_random=self.secrets.client_random,
            server_random=self.secrets.server_random,
            connection_id=self.connection_id,
            public_key=self.public_key,
            device_id=self.device_id,
            address=self.address,
            epoch=EPOCH,
            send_sequence=self.send_sequence,
            received_highest=self._window.highest,
            received_bits=self._window.bits,
            extra=self.extra,
        )

    @classmethod
    def restore(cls, stored: StoredSession, *, is_device: bool = False) -> Session:
        """The session as it was stored; it receives at once, and sends after an ``export``."""
        secrets = Secrets(stored.master_secret, stored.client_random, stored.server_random)
        session = cls(secrets, connection_id=stored.connection_id, public_key=stored.public_key, is_device=is_device)
        session.device_id, session.address, session.extra = stored.device_id, stored.address, stored.extra
        session.send_sequence = session._allowed = stored.send_sequence + SEND_JUMP
        session._window = ReplayWindow(stored.received_highest, stored.received_bits)
        return session
