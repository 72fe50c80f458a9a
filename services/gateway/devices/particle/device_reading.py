"""What the server asks of a device, for the simulator and the tests: the counterpart of ``messages``. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.devices.particle import coap, update_messages, update_v3
from services.gateway.devices.particle.blocks import Block, block_of
from services.gateway.devices.particle.coap import ACK, GET, POST, PUT, RST, Message
from services.gateway.devices.particle.events import Event, read_event
from services.gateway.devices.particle.messages import Answer, DeviceMessage, Unknown
from services.gateway.devices.particle.messages import read as read_device_message
from services.gateway.devices.particle.update_messages import Chunk, UpdateBegin
from services.gateway.devices.particle.update_v3 import Finish, NumberedChunk, Start
from services.gateway.devices.particle.violations import BAD_REQUEST, BadMessage


@dataclass(frozen=True, slots=True)
class ServerHello:
    """The session stands."""


@dataclass(frozen=True, slots=True)
class DescribeRequest:
    """Asks for a description; ``flags`` None means everything, ``block`` a further block of one part."""

    token: bytes
    flags: int | None
    block: Block | None


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """Calls a function; ``argument`` is None if the option is missing, which old firmware cannot bear."""

    token: bytes
    name: str
    argument: bytes | None


@dataclass(frozen=True, slots=True)
class VariableRequest:
    """Asks for a variable."""

    token: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Signal:
    """Show yourself, or stop."""

    token: bytes
    on: bool


@dataclass(frozen=True, slots=True)
class KeyChange:
    """Use new keys."""

    token: bytes
    discard_session: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """All chunks were sent."""

    token: bytes


ServerMessage = (
    ServerHello
    | DescribeRequest
    | FunctionCall
    | VariableRequest
    | Event
    | Signal
    | KeyChange
    | UpdateBegin
    | Chunk
    | Finished
    | Start
    | NumberedChunk
    | Finish
    | DeviceMessage
)
"""Also what both sides say: ``Ping``, ``Acknowledged``, ``Rejected``, ``Answer``, ``Unknown``."""


def read(message: Message) -> ServerMessage:
    """What the server says with this message. Raises ``BadMessage``."""
    if not coap.is_request(message):
        return read_device_message(message)
    segments = coap.path(message)
    reader = _READERS.get((message.code, segments[0])) if segments and message.type not in (ACK, RST) else None
    return Unknown(message.code, segments) if reader is None else reader(message)


def read_time(answer: Answer) -> int:
    """Seconds since 1970."""
    if answer.payload is None or len(answer.payload) != 4:
        raise BadMessage(f"time of {len(answer.payload or b'')} bytes", BAD_REQUEST)
    return int.from_bytes(answer.payload, "big")


def _describe(message: Message) -> DescribeRequest:
    query = next(iter(coap.queries(message)), None)
    return DescribeRequest(message.token, query[0] if query else None, block_of(message, coap.BLOCK2))


def _call(message: Message) -> FunctionCall:
    return FunctionCall(message.token, _name(message), next(iter(coap.queries(message)), None))


def _name(message: Message) -> str:
    segments = coap.path(message)
    if len(segments) != 2:
        raise BadMessage(f"a path of {len(segments)} segments", BAD_REQUEST)
    return segments[1].decode(errors="replace")


def _flag(message: Message) -> bool:
    return next(iter(coap.queries(message)), b"") == b"\x01"


_READERS: dict[tuple[int, bytes], Callable[[Message], ServerMessage]] = {
    (POST, b"h"): lambda _: ServerHello(),
    (GET, b"d"): _describe,
    (POST, b"f"): _call,
    (GET, b"v"): lambda message: VariableRequest(message.token, _name(message)),
    (POST, b"e"): read_event,
    (POST, b"E"): read_event,
    (PUT, b"s"): lambda message: Signal(message.token, _flag(message)),
    (PUT, b"k"): lambda message: KeyChange(message.token, _flag(message)),
    (POST, b"u"): lambda message: update_messages.read_begin(message.payload),
    (POST, b"c"): update_messages.read_chunk,
    (PUT, b"u"): lambda message: Finished(message.token),
    (POST, b"S"): update_v3.read_start,
    (POST, b"C"): update_v3.read_chunk,
    (POST, b"F"): update_v3.read_finish,
}
