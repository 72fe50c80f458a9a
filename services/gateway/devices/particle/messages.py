"""What a device's message says: ``read`` makes one dataclass of it (protocol sections 4 and 5). Pure.

=========  ====================================  =====================================
method     first segment of the path             is read as
=========  ====================================  =====================================
POST       ``h``                                 ``Hello``
POST       ``d``                                 ``DescribePost``
POST       ``e`` ``E``                           ``Event``
GET        ``e``                                 ``Subscription``
GET        ``t``                                 ``TimeRequest``
GET        ``c``                                 ``MissingChunks``
PUT        ``u``                                 ``UpdateDone``
POST       ``x``                                 ``Goodbye``
POST       ``A``                                 ``ChunksReceived``
=========  ====================================  =====================================

A CON without a code is a ``Ping``, an ACK without one ``Acknowledged``; codes of class 2, 4 and 5 are an ``Answer``.
Everything else is ``Unknown``, to be answered 4.04 if it is confirmable. Who has to acknowledge looks at the message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.blocks import Block, block_of
from services.gateway.devices.particle.coap import ACK, CON, GET, POST, PUT, RST, Message
from services.gateway.devices.particle.describe import ALL_FLAGS
from services.gateway.devices.particle.events import Event, Subscription, read_event, read_subscription
from services.gateway.devices.particle.goodbye import Goodbye, read_goodbye
from services.gateway.devices.particle.hello import Hello, read_hello
from services.gateway.devices.particle.update_messages import read_missing
from services.gateway.devices.particle.update_v3 import ChunksReceived, read_received
from services.gateway.devices.particle.violations import BAD_DESCRIBE, BadMessage


@dataclass(frozen=True, slots=True)
class Ping:
    """Wants an empty ACK."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An empty ACK; on TCP its id need not be that of what it acknowledges (section 4.2)."""

    id: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An RST: the device could make nothing of the message with this id."""

    id: int


@dataclass(frozen=True, slots=True)
class DescribePost:
    """A description that a device posts by itself, whole or one block of it. ``flags`` say which parts."""

    flags: int
    block: Block | None
    data: bytes


@dataclass(frozen=True, slots=True)
class TimeRequest:
    """Wants the time in its ACK, with this token."""

    token: bytes


@dataclass(frozen=True, slots=True)
class MissingChunks:
    """Chunks of a fast update that have not arrived."""

    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UpdateDone:
    """A device of firmware up to 0.7 finished an update by itself."""

    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """To a request with this token; ``piggybacked`` in the ACK of the message ``id``, or separate.

    ``message`` has the options: Block2 and ETag of descriptions, those of update protocol 3.
    """

    token: bytes
    code: int
    payload: bytes | None
    piggybacked: bool
    id: int
    message: Message

    @property
    def good(self) -> bool:
        """Whether it is a success."""
        return self.code >> 5 == 2


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that this server does not know."""

    code: int
    path: tuple[bytes, ...]


DeviceMessage = (
    Hello
    | DescribePost
    | Event
    | Subscription
    | TimeRequest
    | MissingChunks
    | UpdateDone
    | Goodbye
    | ChunksReceived
    | Ping
    | Acknowledged
    | Rejected
    | Answer
    | Unknown
)


def read(message: Message) -> DeviceMessage:
    """What a device says with this message. Raises ``BadMessage``; its ``fatal`` tells whether the session ends."""
    if coap.is_answer(message):
        piggybacked = message.type == ACK
        return Answer(message.token, message.code, message.payload, piggybacked, message.id, message)
    if message.code == coap.EMPTY:
        return _empty(message)
    segments = coap.path(message)
    reader = _READERS.get((message.code, segments[0])) if segments and message.type not in (ACK, RST) else None
    return Unknown(message.code, segments) if reader is None else reader(message)


def _empty(message: Message) -> DeviceMessage:
    if message.type == CON:
        return Ping()
    if message.type == ACK:
        return Acknowledged(message.id)
    return Rejected(message.id) if message.type == RST else Unknown(message.code, ())


def _describe_post(message: Message) -> DescribePost:
    query = next(iter(coap.queries(message)), b"")
    flags = query[0] if len(query) == 1 else 0
    if not flags or flags & ~ALL_FLAGS:
        raise BadMessage(f"description with the flags {query.hex()}", BAD_DESCRIBE)
    return DescribePost(flags, block_of(message, coap.BLOCK1), message.payload or b"")


_READERS: dict[tuple[int, bytes], Callable[[Message], DeviceMessage]] = {
    (POST, b"h"): lambda message: read_hello(message.payload),
    (POST, b"d"): _describe_post,
    (POST, b"e"): read_event,
    (POST, b"E"): read_event,
    (GET, b"e"): read_subscription,
    (GET, b"t"): lambda message: TimeRequest(message.token),
    (GET, b"c"): lambda message: MissingChunks(read_missing(message.payload)),
    (PUT, b"u"): lambda message: UpdateDone(message.payload),
    (POST, b"x"): lambda message: read_goodbye(message.payload),
    (POST, b"A"): read_received,
}
