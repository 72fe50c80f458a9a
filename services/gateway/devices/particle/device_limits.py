"""What a device can take, told from its Hello (protocol sections 5.4 to 5.7, 11.1 and 11.3). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.gateway.devices.particle.hello import DIAGNOSTICS, POSTS_DESCRIBE, Hello

CORE = 0
"""Platform id of the Spark Core, which has the smallest buffers."""
CORE_BUFFER_BYTES = 640
OLD_BUFFER_BYTES = 800
MAX_BUFFER_BYTES = 2_048
"""A device that claims more is not believed."""
UDP_OLD_MESSAGE_BYTES = 750


@dataclass(frozen=True, slots=True)
class Limits:
    """The longest that may be sent to a device: whole message, argument of a call, data of an event, names."""

    message_bytes: int
    argument_bytes: int
    event_bytes: int
    name_bytes: int


def message_bytes(buffer_bytes: int) -> int:
    """The longest CoAP message for a TCP device with this buffer, which holds the length and the padding, too."""
    return (buffer_bytes - 18) // 16 * 16 - 1


def limits_of(hello: Hello) -> Limits:
    """The limits of the device that said this Hello."""
    if hello.platform_id == CORE:
        return Limits(message_bytes(CORE_BUFFER_BYTES), 63, 255, 12)
    if hello.system is not None and hello.has(POSTS_DESCRIBE):
        buffer_bytes = min(max(hello.system.message_bytes, CORE_BUFFER_BYTES), MAX_BUFFER_BYTES)
        return Limits(message_bytes(buffer_bytes), 864, 864, 64)
    longest = UDP_OLD_MESSAGE_BYTES if hello.device_id else message_bytes(OLD_BUFFER_BYTES)
    if hello.has(DIAGNOSTICS):
        return Limits(longest, 622, 622, 64)
    return Limits(longest, 63, 255, 12)
