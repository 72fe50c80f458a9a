"""The message layer of UDP (protocol section 8.6, RFC 7252 section 4): what may be lost is sent again, what comes twice
is heard once. Pure.

It looks at the first four bytes of messages and at nothing else, so it lies below the session: every message to the
device goes through ``send``, every one from it through ``receive``. A confirmable message is sent again with the same
id, up to three times, until the device acknowledges or rejects that id; a repeated message of the device is answered
with the bytes that answered it the first time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from services.gateway.devices.particle.coap import ACK, CON, HEADER_BYTES, RST

ACK_S = 4.0
SPREAD = 0.5
"""The first wait is up to half as long again, so that devices do not repeat all at once."""
REPETITIONS = 3
REMEMBERED_S = 60.0
MOST_REMEMBERED = 64
"""Messages of the device that are remembered; the oldest is forgotten."""
MOST_UNACKNOWLEDGED = 64
"""Messages to the device; one more is not sent."""


Answered = tuple[int, tuple[bytes, ...]]
"""The id of a message of the device, and what it was answered with."""


class Heard(NamedTuple):
    """What a datagram is: ``fresh`` for the session, and what is to be sent again for one that came before."""

    fresh: bool
    again: tuple[bytes, ...] = ()


class _Sent:
    __slots__ = ("at", "data", "left", "wait_s")

    def __init__(self, data: bytes, wait_s: float, now: float) -> None:
        self.data = data
        self.wait_s = wait_s
        self.at = now + wait_s
        self.left = REPETITIONS


class _Came:
    __slots__ = ("answers", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.answers: tuple[bytes, ...] = ()


class Exchange:
    """Of one session. ``lost``: the device acknowledged nothing of a message, so that the session is over."""

    __slots__ = ("_came", "_sent", "lost")

    def __init__(self) -> None:
        self._sent: dict[int, _Sent] | None = None
        self._came: OrderedDict[int, _Came] | None = None
        self.lost = False

    def receive(self, data: bytes, now: float) -> Heard:
        """A message of the device; too short a one is fresh, for the session to judge."""
        if len(data) < HEADER_BYTES:
            return Heard(True)
        kind, number = _head(data)
        if kind in (ACK, RST):
            if self._sent is not None and self._sent.pop(number, None) is not None and not self._sent:
                self._sent = None
            return Heard(True)
        self._forget(now)
        came = None if self._came is None else self._came.get(number)
        if came is not None:
            return Heard(False, came.answers if kind == CON else ())
        if self._came is None:
            self._came = OrderedDict()
        self._came[number] = _Came(now + REMEMBERED_S)
        if len(self._came) > MOST_REMEMBERED:
            self._came.popitem(last=False)
        return Heard(True)

    def answered(self, now: float) -> tuple[Answered, ...]:
        """The messages that are remembered and were answered."""
        self._forget(now)
        return tuple((number, came.answers) for number, came in (self._came or {}).items() if came.answers)

    def restore(self, answered: tuple[Answered, ...], now: float) -> None:
        """Remember these, of before a restart, from now on."""
        for number, answers in answered:
            self._came = self._came or OrderedDict()
            came = self._came[number] = _Came(now + REMEMBERED_S)
            came.answers = answers

    def _forget(self, now: float) -> None:
        while self._came:
            number = next(iter(self._came))
            if now < self._came[number].until:
                return
            del self._came[number]
        self._came = None

    def send(self, data: bytes, spread: float, now: float, once: bool = False) -> bool:
        """Whether this message may go out now. ``spread``: a random number from 0 to 1; ``once``: it is repeated by
        whoever made it, if at all."""
        kind, number = _head(data)
        if kind in (ACK, RST):
            came = None if self._came is None else self._came.get(number)
            if came is not None:
                came.answers = (*came.answers, data)
            return True
        if kind != CON or once:
            return True
        if self._sent is None:
            self._sent = {}
        if len(self._sent) >= MOST_UNACKNOWLEDGED:
            return False
        self._sent[number] = _Sent(data, ACK_S * (1 + SPREAD * spread), now)
        return True

    def wake_at(self) -> float | None:
        """When ``tick`` has something to do."""
        return min((sent.at for sent in self._sent.values()), default=None) if self._sent else None

    def tick(self, now: float) -> list[bytes]:
        """What is to be sent again now; afterwards ``lost`` may be true."""
        again: list[bytes] = []
        for number, sent in list((self._sent or {}).items()):
            if now < sent.at:
                continue
            if not sent.left:
                self.lost = True
                self._drop(number)
                continue
            sent.left -= 1
            sent.wait_s *= 2
            sent.at = now + sent.wait_s
            again.append(sent.data)
        return again

    def _drop(self, number: int) -> None:
        if self._sent is not None:
            del self._sent[number]
            self._sent = self._sent or None


def _head(data: bytes) -> tuple[int, int]:
    return data[0] >> 4 & 3, data[2] << 8 | data[3]
