"""The plan of a transfer over the air, and what its sender wants done. Pure.

The seam to the session that drives a sender (``sender.py``):

=======================================  ==============================================================================
effect                                   what the session does with it
=======================================  ==============================================================================
a ``coap.Message``                       sends it. Senders repeat their own requests on UDP: nobody else does
``Need``                                 answers with ``supply``, whenever it suits: a full socket, a rate limit or an
                                         image that is still being read just make it later, and that is all the
                                         back-pressure there is. Fewer bytes are fine, at least one. One is open at most
``Progressed``                           tells the device's ``Updates``
``Refused`` ``Failed`` ``Delivered``     the end: told to ``Updates``. After ``Delivered`` the sender is kept and fed,
                                         for the device may still say that it failed
=======================================  ==============================================================================

On UDP ``wake_at`` is the pace of the chunks: woken later than by some milliseconds, a sender is that much slower.
A confirmable message that the sender takes is acknowledged among its effects. On UDP the session keeps that
acknowledgement and repeats it for a duplicate, without feeding the duplicate; a sender takes duplicates calmly, though.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from services.gateway.devices.particle import server_messages, update_messages
from services.gateway.devices.particle.coap import Message

SILENCE_S = 60.0
"""A device that says nothing for so long, where it has to, has failed; also its time to agree to an update."""
RETRANSMIT_S = 5.0
"""On UDP the first repetition of a request comes after this, the next ones after twice as long each."""
RETRANSMISSIONS = 3
STRETCH_BYTES = 16_384
"""Most bytes of the image that are asked for at once, and so most that are written beyond what the socket took."""
LEAST_CHUNK_BYTES = 64
"""A device that announces a smaller chunk is not believed."""
CHUNK_OVERHEAD_BYTES = 24
"""What a chunk's message has beside its data, at most."""

FailureReason = Literal["device_failed", "stalled", "image_unreadable"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One image for one device. ``chunk_bytes``: what the device announced; ``message_bytes``: the longest message it
    takes; ``reliable``: TCP; ``v3``: update protocol 3 (Hello flag 0x80); ``fast``: fast mode is offered."""

    sha256: str
    size_bytes: int
    chunk_bytes: int = update_messages.CHUNK_BYTES
    message_bytes: int = server_messages.SAFE_MESSAGE_BYTES
    reliable: bool = True
    v3: bool = False
    fast: bool = True


class Numbers(Protocol):
    """The session's numbers, which its other requests use, too."""

    def message_id(self) -> int:
        """The next id of a message."""
        ...

    def token(self) -> int:
        """A token of one byte that no outstanding request of the session has; a sender has at most one outstanding."""
        ...


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes of the image."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """The image is sent up to here; in slow mode and in protocol 3 the device has acknowledged it."""

    sent_bytes: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The device does not take the update: it answered so, or did not agree in time."""

    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The transfer was begun and did not come to its end."""

    reason: FailureReason
    text: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """The device has everything and says that it is whole: it applies it now, and comes back."""


Effect = Message | Need | Progressed | Refused | Failed | Delivered
