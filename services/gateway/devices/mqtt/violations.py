"""What a device can do wrong: break the protocol, or send a message that is not taken. Reason codes are MQTT 5.0's."""

from __future__ import annotations

from shared.errors import PeerViolation

NORMAL = 0x00
UNSPECIFIED = 0x80
MALFORMED = 0x81
PROTOCOL_ERROR = 0x82
OUR_ERROR = 0x83
UNSUPPORTED_LEVEL = 0x84
BAD_CLIENT_ID = 0x85
BAD_LOGIN = 0x86
NOT_AUTHORIZED = 0x87
UNAVAILABLE = 0x88
BUSY = 0x89
DRAINING = 0x8B
BAD_AUTHENTICATION = 0x8C
KEEP_ALIVE = 0x8D
TAKEN_OVER = 0x8E
BAD_FILTER = 0x8F
UNKNOWN_TOPIC = 0x90
TOO_MANY_UNACKNOWLEDGED = 0x93
BAD_ALIAS = 0x94
TOO_LARGE = 0x95
TOO_FAST = 0x96
QUOTA = 0x97
KICKED = 0x98
BAD_PAYLOAD = 0x99
BAD_QOS = 0x9B
OTHER_SERVER = 0x9C
CONNECTION_RATE = 0x9F
NO_SUBSCRIPTION_IDS = 0xA1

REASON_TEXT_BYTES = 128


class Violation(PeerViolation):
    """The connection ends; ``reason`` goes into DISCONNECT, ``kind`` is what it is counted as."""

    def __init__(self, text: str, reason: int = MALFORMED, kind: str = "malformed_packet") -> None:
        super().__init__(text)
        self.reason = reason
        self.kind = kind


class UnsupportedLevel(Violation):
    """A CONNECT of another protocol level; ``level`` says which."""

    def __init__(self, level: int) -> None:
        super().__init__(f"protocol level {level}", UNSUPPORTED_LEVEL)
        self.level = level


class Rejected(Exception):
    """One message is not taken and the connection stays (MQE-4 to 7). ``kind`` is None for what is nobody's fault."""

    def __init__(self, text: str, reason: int = BAD_PAYLOAD, kind: str | None = "bad_payload") -> None:
        super().__init__(text)
        self.text = text
        self.reason = reason
        self.kind = kind
