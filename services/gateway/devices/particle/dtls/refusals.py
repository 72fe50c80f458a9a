"""How a peer's datagram can fail: dropped without a trace for the peer, or with a fatal alert."""

from __future__ import annotations

from enum import IntEnum

from shared.errors import PeerViolation


class Alert(IntEnum):
    """Alert descriptions of RFC 5246, section 7.2, as far as they occur here."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70


WARNING = 1
FATAL = 2


class Discarded(PeerViolation):
    """A record or datagram that is ignored; what it was sent to lives on (RFC 6347, 4.1.2.7). ``kind`` is counted."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class HandshakeRefused(PeerViolation):
    """The handshake is over; the peer is told ``alert``, unless it said so itself."""

    def __init__(self, kind: str, alert: Alert | None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.alert = alert


def fatal(alert: Alert) -> bytes:
    """The content of the alert record."""
    return bytes((FATAL, alert))
