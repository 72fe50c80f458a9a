"""Why a device says goodbye (protocol section 5.12): LEB128 numbers, first which ones follow. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.devices.particle.violations import BAD_GOODBYE, BadMessage

MAX_BYTES = 64
VARINT_BYTES = 5
MAX_NUMBER = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Goodbye:
    """A graceful end; None where the device said nothing."""

    cloud_reason: int | None = None
    reset_reason: int | None = None
    sleep_s: int | None = None
    network_reason: int | None = None


def read_goodbye(payload: bytes | None) -> Goodbye:
    """The reasons in a payload; what follows the known ones is ignored."""
    data = payload or b""
    if len(data) > MAX_BYTES:
        raise BadMessage(f"goodbye of {len(data)} bytes", BAD_GOODBYE)
    if not data:
        return Goodbye()
    mask, at = _varint(data, 0)
    found: list[int | None] = []
    for bit in range(4):
        value = None
        if mask >> bit & 1:
            value, at = _varint(data, at)
        found.append(value)
    return Goodbye(*found)


def goodbye_payload(goodbye: Goodbye) -> bytes:
    """The payload of these reasons."""
    fields = goodbye.cloud_reason, goodbye.reset_reason, goodbye.sleep_s, goodbye.network_reason
    mask = sum(1 << bit for bit, value in enumerate(fields) if value is not None)
    return b"".join(map(_leb128, (mask, *(value for value in fields if value is not None))))


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if value > MAX_NUMBER:
                break
            return value, at + place + 1
    raise BadMessage("number of a goodbye that does not end or is too large", BAD_GOODBYE)


def _leb128(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
