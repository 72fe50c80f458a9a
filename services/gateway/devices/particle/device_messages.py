"""Messages of a device, for the simulator and the tests: what firmware sends (protocol sections 5 and 7). Pure."""

from __future__ import annotations

from services.gateway.devices.particle import coap, events, update_v3
from services.gateway.devices.particle.blocks import Block, block_value
from services.gateway.devices.particle.coap import ACK, CON, GET, NON, POST, PUT, Message
from services.gateway.devices.particle.events import Event, Subscription
from services.gateway.devices.particle.goodbye import Goodbye, goodbye_payload
from services.gateway.devices.particle.hello import Hello, hello_payload
from services.gateway.devices.particle.update_messages import FAST, missing_payload
from services.gateway.devices.particle.update_v3 import ChunksReceived, Started
from services.gateway.devices.particle.values import result_bytes


def hello(message_id: int, said: Hello, confirmable: bool = False) -> Message:
    """The first message of a session; confirmable on UDP."""
    return _post(message_id, b"h", (), hello_payload(said), confirmable)


def ping(message_id: int) -> Message:
    """Keeps the session alive."""
    return Message(CON, coap.EMPTY, message_id)


def acknowledgement(
    message_id: int, code: int = coap.EMPTY, token: bytes = b"", payload: bytes | None = None
) -> Message:
    """An ACK, empty or with an answer in it."""
    return Message(ACK, code, message_id, token, (), payload)


def answer(
    message_id: int, token: bytes, code: int, payload: bytes | None = None, confirmable: bool = False
) -> Message:
    """A separate answer; confirmable on UDP."""
    return Message(CON if confirmable else NON, code, message_id, token, (), payload)


def function_result(message_id: int, token: bytes, result: int, confirmable: bool = False) -> Message:
    """What a function returned."""
    return answer(message_id, token, coap.CHANGED, result_bytes(result), confirmable)


def describe_block(message_id: int, token: bytes, etag: bytes, block: Block, data: bytes) -> Message:
    """One block of a requested description."""
    options = (coap.ETAG, etag), (coap.BLOCK2, block_value(block))
    return Message(CON, coap.CONTENT, message_id, token, options, data)


def describe_post(message_id: int, flags: int, data: bytes, token: bytes = b"", block: Block | None = None) -> Message:
    """A description that the device posts by itself, whole or one block of it."""
    further = () if block is None else ((coap.BLOCK1, block_value(block)),)
    options = (coap.URI_PATH, b"d"), (coap.URI_QUERY, bytes((flags,))), *further
    return Message(CON, POST, message_id, token, options, data)


def event(message_id: int, published: Event, confirmable: bool = False) -> Message:
    """An event; empty data is a marker with nothing behind it."""
    return Message(CON if confirmable else NON, POST, message_id, b"", events.event_options(published), published.data)


def subscription(message_id: int, wanted: Subscription) -> Message:
    """A subscription."""
    prefix = ((coap.URI_PATH, wanted.prefix.encode()),) if wanted.prefix else ()
    mine = ((coap.URI_QUERY, events.MINE),) if wanted.mine else ()
    payload = None if wanted.device_id is None else wanted.device_id.encode()
    return Message(CON, GET, message_id, b"", ((coap.URI_PATH, b"e"), *prefix, *mine), payload)


def time_request(message_id: int, token: bytes) -> Message:
    """Asks for the time."""
    return Message(CON, GET, message_id, token, ((coap.URI_PATH, b"t"),))


def goodbye(message_id: int, said: Goodbye, confirmable: bool = False) -> Message:
    """A graceful end; without confirmation it asks for no response."""
    options = () if confirmable else ((coap.NO_RESPONSE, b""),)
    return _post(message_id, b"x", options, goodbye_payload(said), confirmable)


def update_ready(message_id: int, token: bytes, fast: bool, confirmable: bool = False) -> Message:
    """Ready for chunks, in fast mode or not."""
    return answer(message_id, token, coap.CHANGED, bytes((FAST if fast else 0,)), confirmable)


def chunk_stored(message_id: int, token: bytes, good: bool, confirmable: bool = False) -> Message:
    """In slow mode: the chunk is stored, or its CRC was wrong."""
    return answer(message_id, token, coap.CHANGED if good else coap.BAD_REQUEST, None, confirmable)


def missing_chunks(message_id: int, indexes: tuple[int, ...], confirmable: bool = False) -> Message:
    """In fast mode: what has not arrived."""
    payload = missing_payload(indexes)
    return Message(CON if confirmable else NON, GET, message_id, b"", ((coap.URI_PATH, b"c"),), payload)


def update_done(message_id: int, confirmable: bool = False) -> Message:
    """Firmware up to 0.7 finished an update by itself."""
    return Message(CON if confirmable else NON, PUT, message_id, b"", ((coap.URI_PATH, b"u"),))


def started_v3(message_id: int, token: bytes, started: Started) -> Message:
    """Consent to an update of protocol 3."""
    return Message(CON, coap.CREATED, message_id, token, update_v3.started_options(started))


def chunks_received_v3(message_id: int, received: ChunksReceived) -> Message:
    """What has arrived in protocol 3."""
    return Message(NON, POST, message_id, b"", update_v3.received_options(received), update_v3.bitmap(received) or None)


def _post(message_id: int, kind: bytes, options: coap.Options, payload: bytes, confirmable: bool) -> Message:
    return Message(CON if confirmable else NON, POST, message_id, b"", ((coap.URI_PATH, kind), *options), payload)
