"""Every entry point that bytes of a peer or a person reach, by name: for properties and for fuzzing.

Whatever the bytes are, a decoder returns or raises ``BadMessage`` or, for keys, ``Refused``.
"""

from __future__ import annotations

from collections.abc import Callable

from services.gateway.devices.particle import (
    blocks,
    coap,
    describe,
    device_handshake,
    device_reading,
    events,
    frames,
    goodbye,
    handshake,
    hello,
    keys,
    messages,
    metrics,
    update_messages,
    update_v3,
    values,
)
from tests.gateway.devices.particle.vectors import DEVICE_KEY, SERVER_KEY


def _frames(data: bytes) -> list[bytes]:
    reader = frames.FrameReader(bytes(16), bytes(16))
    reader.feed(data)
    found = []
    while (message := reader.take()) is not None:
        found.append(message)
    return found


def _messages(data: bytes) -> list[object]:
    """Messages, whether or not a frame holds them: what a peer that has the session's key can reach."""
    message = coap.decode(data)
    found: list[object] = [messages.read(message), device_reading.read(message)]
    if isinstance(said := found[0], messages.Answer):
        found += [update_v3.read_started(said.message), blocks.block_of(message, coap.BLOCK2)]
    if isinstance(said, events.Event):
        found.append(update_messages.read_result(said.data))
    if isinstance(said, messages.DescribePost):
        found.append(blocks.Assembly().add(said.flags, said.block, said.data))
    return found


DECODERS: dict[str, Callable[[bytes], object]] = {
    "frames": _frames,
    "coap": coap.decode,
    "messages": _messages,
    "hello": hello.read_hello,
    "description": describe.read_description,
    "metrics": metrics.read_metrics,
    "block": blocks.read_block,
    "boolean": lambda data: values.read_value(values.BOOLEAN, data),
    "int": lambda data: values.read_value(values.INT, data),
    "double": lambda data: values.read_value(values.DOUBLE, data),
    "string": lambda data: values.read_value(values.STRING, data),
    "result": values.read_result,
    "goodbye": goodbye.read_goodbye,
    "ready": update_messages.read_ready,
    "missing": update_messages.read_missing,
    "update result": update_messages.read_result,
    "update begin": update_messages.read_begin,
    "handshake hello": lambda data: handshake.open_hello(SERVER_KEY, bytes(40), data),
    "handshake reply": lambda data: device_handshake.open_reply(DEVICE_KEY, SERVER_KEY.public_key(), data),
    "device key": keys.device_rsa,
    "server key": lambda data: keys.server_rsa(data.decode("latin-1")),
}
