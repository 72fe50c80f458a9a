"""A sender and a simulated device with a link between them that loses, repeats, delays and damages; no real clock."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import msgspec

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.device_updates import Habits, Receiver
from services.gateway.devices.particle.sender import Sender, sender_of
from services.gateway.devices.particle.sending import Delivered, Effect, Failed, Need, Plan, Progressed, Refused

IMAGE = bytes(range(251)) * 40
"""10,040 bytes: 19 chunks of 512 and a short one."""
LIMIT_S = 3_600.0
MOST_STEPS = 20_000

Fate = Literal["arrives", "lost", "twice", "late", "damaged"]


@dataclass
class Counting:
    """Ids from 257 and tokens from 1 on, as the recorded server had them."""

    ids: Iterator[int] = field(default_factory=lambda: count(257))
    tokens: Iterator[int] = field(default_factory=lambda: count(1))

    def message_id(self) -> int:
        return next(self.ids) & 0xFFFF

    def token(self) -> int:
        return next(self.tokens) & 0xFF


def plan_of(image: bytes, habits: Habits, chunk_bytes: int = 512) -> Plan:
    sha256 = hashlib.sha256(image).hexdigest()
    v3 = habits.firmware == "v3"
    return Plan(sha256, len(image), chunk_bytes, reliable=habits.reliable, v3=v3)


class Link:
    """Runs a transfer to its end and keeps what came of it. ``fate`` is asked for each message, with who sends it."""

    def __init__(
        self, image: bytes, habits: Habits, fate: Callable[[str, Message], Fate] | None = None, chunk_bytes: int = 512
    ) -> None:
        self.image = image
        self.habits = habits
        self.sender: Sender = sender_of(plan_of(image, habits, chunk_bytes), Counting())
        self.device = Receiver(habits)
        self.now = 0.0
        self.sent: list[Message] = []
        self.heard: list[Message] = []
        self.progress: list[int] = []
        self.ends: list[Refused | Failed | Delivered] = []
        self._fate: Callable[[str, Message], Fate] = fate or (lambda who, message: "arrives")
        self._under_way: list[tuple[float, int, str, Message]] = []
        self._order = count()

    def run(self) -> Refused | Failed | Delivered:
        """The outcome; everything that is under way at the end still arrives."""
        self._done(self.sender.start(self.now))
        for _ in range(MOST_STEPS):
            if not self._step():
                break
        assert self.ends, "the sender waits for nothing and has not ended"
        assert self.sender.over
        assert not any(isinstance(end, Delivered) for end in self.ends[1:])
        return self.ends[0]

    def _step(self) -> bool:
        moments = [self._under_way[0][0] if self._under_way else None, self.sender.wake_at(), self.device.wake_at()]
        due = [moment for moment in moments if moment is not None]
        if not due or min(due) > LIMIT_S:
            return False
        self.now = max(self.now, min(due))
        if self._under_way and self._under_way[0][0] <= self.now:
            _, _, who, message = heapq.heappop(self._under_way)
            self._arrived(who, message)
        else:
            self._done(self.sender.tick(self.now))
            self._answer(self.device.tick(self.now))
        return True

    def _arrived(self, who: str, message: Message) -> None:
        if who == "server":
            self._answer(self.device.receive(message, self.now))
        else:
            self.heard.append(message)
            self._done(self.sender.receive(message, self.now) or [])

    def _answer(self, messages: list[Message]) -> None:
        for message in messages:
            self._send("device", message)

    def _done(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Message():
                    self.sent.append(effect)
                    self._send("server", effect)
                case Need(offset, length):
                    assert 0 < length <= 16_384
                    assert offset + length <= len(self.image)
                    self._done(self.sender.supply(offset, memoryview(self.image)[offset : offset + length], self.now))
                case Progressed(sent_bytes):
                    self.progress.append(sent_bytes)
                case _:
                    self.ends.append(effect)

    def _send(self, who: str, message: Message) -> None:
        fate = self._fate(who, message)
        if fate == "lost":
            return
        if fate == "damaged" and message.payload:
            message = msgspec.structs.replace(message, payload=bytes((message.payload[0] ^ 1,)) + message.payload[1:])
        delay_s = 3.0 if fate == "late" else 0.01
        for turn in range(2 if fate == "twice" else 1):
            heapq.heappush(self._under_way, (self.now + delay_s * (turn + 1), next(self._order), who, message))


def is_chunk(message: Message) -> bool:
    return coap.path(message)[:1] in ((b"c",), (b"C",)) and message.payload is not None and message.code == coap.POST
