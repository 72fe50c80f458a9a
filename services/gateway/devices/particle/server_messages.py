"""Messages of the server, laid out so that the oldest firmware reads them right (protocol section 4.1). Pure.

That firmware looks at fixed offsets: every request but Hello, ping and events has a token of one byte, its kind is the
first option, a call always has an argument, an event no option but name and ttl. ``token`` is that byte as a number.
"""

from __future__ import annotations

from services.gateway.devices.particle import coap, events, update_messages, update_v3
from services.gateway.devices.particle.blocks import Block, block_value
from services.gateway.devices.particle.coap import ACK, CON, GET, NON, POST, PUT, RST, Message
from services.gateway.devices.particle.describe import ALL_FLAGS
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.update_messages import UpdateBegin
from services.gateway.devices.particle.update_v3 import Finish, Start
from shared.errors import Misuse

SAFE_MESSAGE_BYTES = 600
"""Every device takes a message of this length."""
MAX_NAME_BYTES = 64
MAX_TIME = 2**32 - 1


def acknowledgement(message_id: int, code: int = coap.EMPTY, token: bytes = b"") -> Message:
    """The answer to a confirmable message: that it came, or with a 4.xx or 5.xx that it is refused."""
    return Message(ACK, code, message_id, token)


def rejection(message_id: int) -> Message:
    """The answer to a message that means nothing here."""
    return Message(RST, coap.EMPTY, message_id)


def hello(message_id: int) -> Message:
    """What a TCP device waits 4 s for."""
    return Message(NON, POST, message_id, b"", ((coap.URI_PATH, b"h"),))


def ping(message_id: int) -> Message:
    """Asks whether the device is there."""
    return Message(CON, coap.EMPTY, message_id)


def time(message_id: int, token: bytes, unix_s: int) -> Message:
    """The answer to a request for the time; the device reads it at a fixed place, behind one byte of token."""
    if len(token) != 1 or not 0 <= unix_s <= MAX_TIME:
        raise Misuse(f"the time {unix_s} with a token of {len(token)} bytes")
    return Message(ACK, coap.CONTENT, message_id, token, (), unix_s.to_bytes(4, "big"))


def describe_request(message_id: int, token: int, flags: int | None = None, block: Block | None = None) -> Message:
    """Asks for a description: for everything (old firmware), for one part, or for one further block of a part."""
    if (flags is None and block is not None) or (flags is not None and not 0 < flags <= ALL_FLAGS):
        raise Misuse(f"describe with the flags {flags} and the block {block}")
    query = () if flags is None else ((coap.URI_QUERY, bytes((flags,))),)
    further = () if block is None else ((coap.BLOCK2, block_value(block)),)
    return _request(message_id, token, GET, b"d", (*query, *further))


def function_call(message_id: int, token: int, name: str, argument: bytes = b"") -> Message:
    """Calls a function. Without the option of an argument 0.6 calls it with garbage, so it is there even if empty."""
    return _request(message_id, token, POST, b"f", (_name(name), (coap.URI_QUERY, argument)))


def variable_request(message_id: int, token: int, name: str) -> Message:
    """Asks for a variable; never for one that the description does not list, 0.6 crashes."""
    return _request(message_id, token, GET, b"v", (_name(name),))


def event(message_id: int, published: Event, confirmable: bool = False) -> Message:
    """An event for a device that subscribed. Empty data is left out, as CoAP has no marker without a payload."""
    name_bytes = len(published.name.encode())
    if not 0 < name_bytes <= events.MAX_NAME_BYTES or not 0 <= published.ttl_s <= events.MAX_TTL_S:
        raise Misuse(f"an event with a name of {name_bytes} bytes and a ttl of {published.ttl_s} s")
    options = events.event_options(published)
    return Message(CON if confirmable else NON, POST, message_id, b"", options, published.data or None)


def signal(message_id: int, token: int, on: bool) -> Message:
    """Makes a device show itself, or stop."""
    return _request(message_id, token, PUT, b"s", ((coap.URI_QUERY, b"\x01" if on else b"\x00"),))


def key_change(message_id: int, token: int, discard_session: bool = False) -> Message:
    """Asks a device to use new keys; on UDP to forget its session and shake hands again."""
    return _request(message_id, token, PUT, b"k", ((coap.URI_QUERY, b"\x01"),) if discard_session else ())


def update_begin(message_id: int, token: int, begin: UpdateBegin) -> Message:
    """Opens an update."""
    return _request(message_id, token, POST, b"u", (), update_messages.begin_payload(begin))


def chunk(message_id: int, token: int, data: bytes, index: int | None = None) -> Message:
    """A chunk: in slow mode confirmable, in fast mode with its index and not."""
    if not data:
        raise Misuse("an empty chunk")
    options = update_messages.chunk_options(data, index)
    return Message(CON if index is None else NON, POST, message_id, _token(token), options, data)


def update_done(message_id: int, token: int) -> Message:
    """Says that all chunks were sent."""
    return _request(message_id, token, PUT, b"u")


def start_v3(message_id: int, token: int, start: Start) -> Message:
    """Opens an update of protocol 3."""
    if start.chunk_bytes % 4 or not start.chunk_bytes:
        raise Misuse(f"chunks of {start.chunk_bytes} bytes, not a multiple of 4")
    return Message(CON, POST, message_id, _token(token), update_v3.start_options(start))


def chunk_v3(message_id: int, index: int, data: bytes) -> Message:
    """A chunk of protocol 3, which has no token; indexes begin at 1."""
    if index < 1 or not data:
        raise Misuse(f"chunk {index} of {len(data)} bytes")
    return Message(NON, POST, message_id, b"", update_v3.chunk_options(index), data)


def finish_v3(message_id: int, token: int, finish: Finish | None = None) -> Message:
    """Ends a transfer of protocol 3."""
    return Message(CON, POST, message_id, _token(token), update_v3.finish_options(finish or Finish()))


def _request(
    message_id: int, token: int, code: int, kind: bytes, options: coap.Options = (), payload: bytes | None = None
) -> Message:
    return Message(CON, code, message_id, _token(token), ((coap.URI_PATH, kind), *options), payload)


def _token(token: int) -> bytes:
    return token.to_bytes(1, "big")


def _name(name: str) -> tuple[int, bytes]:
    data = name.encode()
    if not 0 < len(data) <= MAX_NAME_BYTES:
        raise Misuse(f"a name of {len(data)} bytes")
    return coap.URI_PATH, data
