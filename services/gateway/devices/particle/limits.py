"""Every limit of Particle's listeners and sessions. Pure. (What a *device* can take is in ``device_limits.py``.)"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ParticleLimits:
    """Sizes in bytes, times in seconds; the numbers are those of protocol sections 5, 8.6, 9 and 10."""

    connections: int = 200_000
    handshake_s: float = 10.0
    """From the nonce to the Hello."""
    nonce_wait_s: float = 20.0
    """So long a device waits for the nonce; a connection that has to wait longer is closed."""
    handshakes: int = 1_024
    """Connections between nonce and Hello at the same time; the others wait for their nonce."""
    handshakes_an_address: int = 512
    key_threads: int = 2
    refused_logins: int = 100
    refused_logins_s: float = 60.0
    silence_s: float = 30.0
    """A TCP device that says nothing for so long is gone."""
    updating_silence_s: float = 90.0
    """The same while it is sent firmware, which it does not answer; the sender gives up before, after 60 s."""
    udp_silence_s: float = 2 * 23 * 60.0 + 60.0
    describe_s: float = 10.0
    """How long the device may take to describe itself, and to answer a request for it."""
    patience_s: float = 2.0
    """An update begins so long after the Hello at the latest, if the device has not described itself by then."""
    subscriptions: int = 8
    events_a_second: float = 4.0
    events_burst: float = 60.0
    """A device says about ten things at once when it connects."""
    waiting_events: int = 64
    """Events of one device that are confirmable and not durable yet."""
    held_questions: int = 16
    """Questions that wait for the description."""
    bad_messages_a_minute: int = 60
    text_bytes: int = 256
    """Of what is kept of system events."""
    standing_still_s: float = 30.0
    write_buffer_bytes: int = 16_384
    socket_buffer_bytes: int = 16_384
    """What the kernel holds of what a device has not taken: little, so that a slow device is seen to be slow, and not
    silent for as long as it takes what was written to it."""
    turn_messages: int = 50
    tick_s: float = 0.25
