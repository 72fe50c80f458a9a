"""Values of variables and results of functions as bytes (protocol sections 5.4 and 5.5). Pure."""

from __future__ import annotations

import struct

from services.gateway.devices.particle.violations import BAD_VALUE, BadMessage

BOOLEAN, INT, STRING, DOUBLE = 1, 2, 4, 9
TYPES = {BOOLEAN: "bool", INT: "int32", STRING: "string", DOUBLE: "double"}
"""The types a variable can have, and what the REST API calls them."""
MAX_STRING_BYTES = 1_024

_DOUBLE = struct.Struct("<d")
_SIZES = {BOOLEAN: 1, INT: 4, DOUBLE: 8}

Value = bool | int | float | str


def read_value(kind: int, payload: bytes | None) -> Value:
    """The value of a variable of this type, which its Describe tells; bytes that are no UTF-8 are replaced."""
    data = payload or b""
    if kind == STRING:
        if len(data) > MAX_STRING_BYTES:
            raise BadMessage(f"string of {len(data)} bytes", BAD_VALUE)
        return data.decode(errors="replace")
    if len(data) != _SIZES.get(kind):
        raise BadMessage(f"{len(data)} bytes for a variable of type {kind}", BAD_VALUE)
    if kind == BOOLEAN:
        return data != b"\x00"
    if kind == INT:
        return int.from_bytes(data, "big", signed=True)
    value: float = _DOUBLE.unpack(data)[0]
    return value


def value_bytes(kind: int, value: Value) -> bytes:
    """A value of this type as a device sends it."""
    match kind:
        case 1:
            return b"\x01" if value else b"\x00"
        case 2:
            return int(value).to_bytes(4, "big", signed=True)
        case 9:
            return _DOUBLE.pack(value)
    return str(value).encode()


def read_result(payload: bytes | None) -> int:
    """What a function returned."""
    if payload is None or len(payload) != 4:
        raise BadMessage(f"result of {len(payload or b'')} bytes", BAD_VALUE)
    return int.from_bytes(payload, "big", signed=True)


def result_bytes(result: int) -> bytes:
    """The result of a function as a device sends it."""
    return result.to_bytes(4, "big", signed=True)
