"""What a Particle device can do wrong. One exception comes out of every parser of this folder, and nothing else."""

from __future__ import annotations

from shared.errors import PeerViolation

BAD_FRAME = "bad_frame"
"""Length, padding or CoAP framing is wrong: synchronisation is lost."""
BAD_HANDSHAKE = "bad_handshake"
BAD_HELLO = "bad_hello"
BAD_DESCRIBE = "bad_describe"
BAD_EVENT = "bad_event"
BAD_SUBSCRIPTION = "bad_subscription"
BAD_UPDATE = "bad_update"
BAD_VALUE = "bad_value"
BAD_GOODBYE = "bad_goodbye"
BAD_REQUEST = "bad_request"
"""What only a device has to read: a request of the server that is malformed."""

FATAL = frozenset((BAD_FRAME, BAD_HANDSHAKE, BAD_HELLO))
"""Kinds after which the connection ends; after the others one message is refused and the session stays."""


class BadMessage(PeerViolation):
    """Bytes that are not what they should be; ``kind`` is what it is counted as."""

    def __init__(self, text: str, kind: str = BAD_FRAME) -> None:
        super().__init__(text)
        self.kind = kind

    @property
    def fatal(self) -> bool:
        """Whether the connection has to end."""
        return self.kind in FATAL
