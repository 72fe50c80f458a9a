"""The payload of a device's Hello in its three forms (protocol section 5.1). Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from services.gateway.devices.particle.violations import BAD_HELLO, BadMessage

UPDATE_APPLIED = 0x01
"""The last update was applied before this start."""
DIAGNOSTICS = 0x02
"""Understands the request for metrics; firmware 0.8 and later."""
UPDATE_EVENTS = 0x04
"""Understands update enable, force and pending events."""
GOODBYE = 0x10
POSTS_DESCRIBE = 0x20
"""Posts its description and subscriptions itself; firmware 2.0 and later."""
COMPRESSED = 0x40
"""Takes compressed and combined binaries."""
UPDATES_V3 = 0x80
"""Takes update protocol 3, and no other."""

UNDEFINED = 0xFFFF
"""A product id or version that nobody set."""
DEVICE_ID_BYTES = 12

_HEAD = struct.Struct(">HHHH")
_TAIL = struct.Struct(">HHIH")


@dataclass(frozen=True, slots=True)
class HelloSystem:
    """What firmware 3.x adds: its version number, the largest message and binary that it takes, its chunk size."""

    version: int
    message_bytes: int
    binary_bytes: int
    chunk_bytes: int


@dataclass(frozen=True, slots=True)
class Hello:
    """What a device says of itself first. ``device_id`` is empty on TCP and with old firmware."""

    product_id: int
    product_version: int
    flags: int
    platform_id: int
    device_id: str | None = None
    system: HelloSystem | None = None

    def has(self, flag: int) -> bool:
        """Whether the device set this flag."""
        return bool(self.flags & flag)


def read_hello(payload: bytes | None) -> Hello:
    """The Hello in a payload; what follows the known form is ignored."""
    if payload is None or len(payload) < _HEAD.size:
        raise BadMessage(f"Hello of {len(payload or b'')} bytes", BAD_HELLO)
    product_id, product_version, flags, platform_id = _HEAD.unpack_from(payload)
    device_id, system = None, None
    at = _HEAD.size + 2
    if len(payload) >= at:
        size = int.from_bytes(payload[_HEAD.size : at], "big")
        if size not in (0, DEVICE_ID_BYTES) or at + size > len(payload):
            raise BadMessage(f"device id of {size} bytes in a Hello of {len(payload)}", BAD_HELLO)
        device_id = payload[at : at + size].hex()
        at += size
        if len(payload) >= at + _TAIL.size:
            system = HelloSystem(*_TAIL.unpack_from(payload, at))
    return Hello(product_id, product_version, flags, platform_id, device_id, system)


def hello_payload(hello: Hello) -> bytes:
    """The payload of a Hello; a known ``system`` needs a ``device_id``, at least an empty one."""
    data = _HEAD.pack(hello.product_id, hello.product_version, hello.flags, hello.platform_id)
    if hello.device_id is None:
        return data
    device_id = bytes.fromhex(hello.device_id)
    data += len(device_id).to_bytes(2, "big") + device_id
    if hello.system is None:
        return data
    known = hello.system
    return data + _TAIL.pack(known.version, known.message_bytes, known.binary_bytes, known.chunk_bytes)
