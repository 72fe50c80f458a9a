"""How fast one device publishes (section 10). Pure.

An empty bucket makes the listener stop reading. A device that was held for more than half of a minute is told: 5.0
clients then get their messages refused while the bucket is empty, and are closed if that goes on; 3.1.1 is closed.
The same holds while the device has caused more facts than it may (``DeviceMemory.caused``).
"""

from __future__ import annotations

from typing import Literal

from services.gateway.devices.limits import Bucket
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.violations import TOO_FAST, Violation

CALM = 3
"""A device that had nothing refused for this part of ``throttled_s`` has slowed down."""

Verdict = Literal["taken", "refused", "told"]


class Pace:
    """Of one connection. The buckets are made when they are first needed."""

    __slots__ = (
        "_chunks",
        "_held_at",
        "_held_s",
        "_limits",
        "_memory",
        "_messages",
        "_refused_at",
        "_refusing_at",
        "_window_at",
    )

    def __init__(self, limits: MqttLimits, memory: DeviceMemory, now: float) -> None:
        self._limits = limits
        self._memory = memory
        self._messages: Bucket | None = None
        self._chunks: Bucket | None = None
        self._window_at = now
        self._held_at: float | None = None
        self._held_s = 0.0
        self._refusing_at: float | None = None
        self._refused_at = 0.0

    def hold_until(self, now: float) -> float | None:
        """Until when nothing is to be read; None if there is no reason to hold."""
        until = self._chunks.empty_until(now) if self._chunks is not None else None
        if self._messages is not None and self._refusing_at is None:
            for bucket_until in (self._messages.empty_until(now), self._no_facts_until(now)):
                if bucket_until is not None and (until is None or bucket_until > until):
                    until = bucket_until
        if until is not None and self._held_at is None:
            self._held_at = now
        elif until is None and self._held_at is not None:
            self._count(now)
        return until

    def _no_facts_until(self, now: float) -> float | None:
        return self._memory.may_cause_facts_from(now)

    def _count(self, now: float) -> None:
        if self._held_at is None:
            return
        if now - self._window_at > 2 * self._limits.throttled_s:
            self._window_at, self._held_s = now, 0.0
        self._held_s += min(now - self._held_at, self._limits.throttled_s)
        self._held_at = None

    def published(self, chunk: bool, can_refuse: bool, now: float) -> Verdict:
        """Count one publish. ``told``: refused, and for the first time. Raises ``Violation`` when it is enough."""
        limits = self._limits
        self._count(now)
        if chunk:
            if self._chunks is None:
                self._chunks = Bucket(limits.chunks_a_second, limits.chunks_burst, now)
            self._chunks.take(now)
            return "taken"
        if self._messages is None:
            self._messages = Bucket(limits.messages_a_second, limits.messages_burst, now)
        if self._refusing_at is not None:
            return self._while_refusing(self._messages, self._refusing_at, now)
        if self._held_s > limits.throttled_s:
            if not can_refuse:
                raise Violation("publishes faster than it may", TOO_FAST, "too_fast")
            self._refusing_at = self._refused_at = now
            return "told"
        self._messages.take(now)
        return "taken"

    def _while_refusing(self, bucket: Bucket, since: float, now: float) -> Verdict:
        if bucket.empty_until(now) is not None or self._no_facts_until(now) is not None:
            if now - since > self._limits.throttled_s:
                raise Violation("goes on publishing faster than it may", TOO_FAST, "too_fast")
            self._refused_at = now
            return "refused"
        bucket.take(now)
        if now - self._refused_at > self._limits.throttled_s / CALM:
            self._refusing_at, self._held_s, self._window_at = None, 0.0, now
        return "taken"
