"""Every limit of the MQTT listener. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MqttLimits:
    """Sizes in bytes, times in seconds; ``down`` is to the device, ``up`` from it."""

    connections: int = 200_000
    connect_s: float = 10.0
    connect_bytes: int = 8_192
    packet_bytes: int = 65_536
    chunk_bytes: int = 65_536
    image_bytes: int = 8 * 1024 * 1024
    unacknowledged_down: int = 32
    unacknowledged_down_old: int = 16
    """The same for 3.1 and 3.1.1, whose clients cannot say how many they take."""
    queued_down: int = 100
    queued_down_bytes: int = 262_144
    """Of the payloads of the queue; calls may be more."""
    unacknowledged_up: int = 64
    subscriptions: int = 32
    filter_bytes: int = 256
    topic_aliases: int = 8
    downloads: int = 8
    """Request ids of one connection whose images are remembered; the oldest is forgotten."""
    items: int = 1_024
    """Items in one telemetry message."""
    event_bytes: int = 16_384
    messages_a_second: float = 50.0
    messages_burst: float = 500.0
    chunks_a_second: float = 200.0
    chunks_burst: float = 200.0
    throttled_s: float = 30.0
    """Paused for so long out of twice as long is too fast (MQL-3)."""
    bad_messages_a_minute: int = 300
    provisioning: int = 1_000
    """Connections of devices that have nothing to authenticate with yet."""
    provisioning_an_address: int = 200
    """Of those, from one address; a whole factory may be behind it."""
    provisioning_s: float = 60.0
    """How long such a connection lives after CONNECT, and after an answer."""
    provisioning_requests: int = 10
    """Of one connection."""
    handshake_bytes: int = 8_192
    """The request that a WebSocket begins with."""
    claim_s: float = 86_400.0
    """How long a device is open to be claimed, if it does not say, and at most."""
    refused_logins: int = 100
    refused_logins_s: float = 60.0
    keep_alive_s: int = 1_200
    standing_still_s: float = 30.0
    write_buffer_bytes: int = 131_072
    turn_bytes: int = 65_536
    turn_packets: int = 200
    tick_s: float = 0.25
    patience_s: float = 1.0
    """How long an offer waits after what made it possible: SDKs subscribe first and report after."""
    unreported_s: float = 10.0
    """Online for so long without a report, what the device reported last counts (MQF-4)."""
    asked_s: float = 5.0
    offer_again_s: float = 600.0
