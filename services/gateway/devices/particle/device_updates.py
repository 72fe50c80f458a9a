"""The receiving half of updates over the air, for the simulator and the tests: what the device does (protocol section
7), by generation of firmware. Pure.

``self_finishing``: up to 0.7, ends by itself once the missing chunks are there and repeats their list every 3 s;
``waiting``: 0.8 and later, is asked again each time; ``v3``: update protocol 3. A device that is not ``reliable`` is on
UDP: it repeats what it wants acknowledged, and answers a request that comes twice with the same messages.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from services.gateway.devices.particle import coap, device_messages, device_reading
from services.gateway.devices.particle.coap import ACK, CON, Message
from services.gateway.devices.particle.device_reading import Finished
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.messages import Acknowledged
from services.gateway.devices.particle.update_messages import Chunk, UpdateBegin
from services.gateway.devices.particle.update_v3 import ChunksReceived, Finish, NumberedChunk, Start, Started

Firmware = Literal["self_finishing", "waiting", "v3"]

LIST_AGAIN_S = 3.0
LISTED = {"self_finishing": 50, "waiting": 20}
"""Indexes in one list of missing chunks."""
AGAIN_S = 4.0
TRIES = 3
RECEIVED_S = 0.2
RECEIVED_CHUNKS = 2
"""Protocol 3 acknowledges after so many chunks, or so much time."""
REMEMBERED = 64
"""Requests of the server whose answers a device on UDP remembers."""


@dataclass(frozen=True, slots=True)
class Habits:
    """How a device updates. ``refuses``: the code it answers an offer with; ``disabled``: it acknowledges an offer and
    says nothing more; ``verdict``: the error it finds in a whole image, None for none; ``stored``: what protocol 3 has
    of the image already."""

    firmware: Firmware = "waiting"
    reliable: bool = True
    fast: bool = True
    refuses: int | None = None
    disabled: bool = False
    verdict: int | None = None
    window_chunks: int = 32
    stored: bytes = b""


class Receiver:
    """One update at a device. ``image`` is what it applies, once it does."""

    def __init__(self, habits: Habits, first_id: int = 1) -> None:
        self._habits = habits
        self._next_id = first_id
        self._begin: UpdateBegin | Start | None = None
        self._fast = False
        self._chunks: dict[int, bytes] = {}
        self._token = b""
        self._list_at: float | None = None
        self._answered: dict[int, list[Message]] = {}
        self._unacknowledged: dict[int, tuple[Message, float, int]] = {}
        self._upto = 0
        self._held_bytes = len(habits.stored)
        self._unreported = 0
        self._report_at: float | None = None
        self._applies_with: int | None = None
        self.image: bytes | None = None

    def receive(self, message: Message, now: float) -> list[Message]:
        """What the device answers. Raises ``BadMessage``."""
        if message.type == ACK:
            return self._acknowledged(message.id)
        confirmable = message.type == CON
        if not self._habits.reliable and confirmable and message.id in self._answered:
            return self._answered[message.id]
        answers = self._heard(message, now)
        if confirmable:
            self._answered[message.id] = answers
            if len(self._answered) > REMEMBERED:
                del self._answered[next(iter(self._answered))]
        return answers

    def tick(self, now: float) -> list[Message]:
        """Time has passed."""
        sent: list[Message] = []
        for number, (message, again_at, tries) in list(self._unacknowledged.items()):
            if now >= again_at:
                sent.append(message)
                if tries == TRIES:
                    del self._unacknowledged[number]
                else:
                    self._unacknowledged[number] = message, now + AGAIN_S * 2**tries, tries + 1
        if self._list_at is not None and now >= self._list_at:
            sent += self._list(now)
        if self._report_at is not None and now >= self._report_at:
            sent += self._report()
        return sent

    def wake_at(self) -> float | None:
        """When ``tick`` has something to do."""
        moments = [again_at for _, again_at, _ in self._unacknowledged.values()]
        moments += [at for at in (self._list_at, self._report_at) if at is not None]
        return min(moments, default=None)

    def _heard(self, message: Message, now: float) -> list[Message]:
        match device_reading.read(message):
            case UpdateBegin() as begin if self._habits.firmware != "v3":
                return self._offered(begin, message, now)
            case Chunk() as chunk:
                return self._chunk(chunk, message, now)
            case Finished():
                return self._finished(message, now)
            case Start() as start if self._habits.firmware == "v3":
                return self._offered_v3(start, message, now)
            case NumberedChunk(index, data):
                return self._chunk_v3(index, data, now)
            case Finish() as finish:
                return self._finish_v3(finish, message, now)
            case Acknowledged():
                return []
        return [device_messages.acknowledgement(message.id, coap.NOT_FOUND)] if message.type == CON else []

    # -- classic ------------------------------------------------------------------------------------------------------

    def _offered(self, begin: UpdateBegin, message: Message, now: float) -> list[Message]:
        if self._habits.refuses is not None:
            return [device_messages.acknowledgement(message.id, self._habits.refuses)]
        acknowledged = device_messages.acknowledgement(message.id)
        if self._habits.disabled:
            return [acknowledged]
        self._begin, self._fast = begin, begin.fast and self._habits.fast
        confirmable = not self._habits.reliable
        ready = device_messages.update_ready(self._number(), message.token, self._fast, confirmable)
        return [acknowledged, *self._out(ready, now)]

    def _chunk(self, chunk: Chunk, message: Message, now: float) -> list[Message]:
        if not isinstance(self._begin, UpdateBegin):
            return []
        if not self._fast:
            if chunk.intact:
                self._chunks[len(self._chunks)] = chunk.data
            confirmable = not self._habits.reliable
            said = device_messages.chunk_stored(self._number(), message.token, chunk.intact, confirmable)
            return [device_messages.acknowledgement(message.id), *self._out(said, now)]
        if chunk.intact and chunk.index is not None:
            self._chunks[chunk.index] = chunk.data
        if self._list_at is None:
            return []
        if self._missing():
            self._list_at = now + LIST_AGAIN_S
            return []
        return self._finish_by_itself(now)

    def _missing(self) -> tuple[int, ...]:
        begin = self._begin
        assert begin is not None
        count = -(-begin.size_bytes // begin.chunk_bytes)
        return tuple(index for index in range(count) if index not in self._chunks)

    def _finished(self, message: Message, now: float) -> list[Message]:
        if self._begin is None:
            return [device_messages.acknowledgement(message.id, coap.BAD_REQUEST, message.token)]
        if self._missing():
            return [device_messages.acknowledgement(message.id, coap.BAD_REQUEST, message.token), *self._list(now)]
        self._list_at = None
        verdict = self._habits.verdict
        if verdict is None:
            self._apply()
        payload = None if self._habits.firmware == "self_finishing" else b'{"r":%d}' % (verdict or 0)
        answer = device_messages.acknowledgement(message.id, coap.CHANGED, message.token, payload)
        return [answer] if payload else [answer, *self._result(now)]

    def _list(self, now: float) -> list[Message]:
        old = self._habits.firmware == "self_finishing"
        self._list_at = now + LIST_AGAIN_S if old else None
        missing = self._missing()[: LISTED[self._habits.firmware]]
        confirmable = old or not self._habits.reliable
        return self._out(device_messages.missing_chunks(self._number(), missing, confirmable), now)

    def _finish_by_itself(self, now: float) -> list[Message]:
        self._list_at = None
        if self._habits.verdict is None:
            self._apply()
        result = self._result(now)
        if self._habits.verdict is not None:
            return result
        return [*result, *self._out(device_messages.update_done(self._number(), not self._habits.reliable), now)]

    def _result(self, now: float) -> list[Message]:
        data = b'{"r":"ok"}' if self._habits.verdict is None else b'{"r":"error"}'
        published = Event("spark/device/ota_result", data)
        return self._out(device_messages.event(self._number(), published, not self._habits.reliable), now)

    def _apply(self) -> None:
        self.image = b"".join(data for _, data in sorted(self._chunks.items()))

    # -- protocol 3 ---------------------------------------------------------------------------------------------------

    def _offered_v3(self, start: Start, message: Message, now: float) -> list[Message]:
        if self._habits.refuses is not None:
            return [device_messages.acknowledgement(message.id, self._habits.refuses)]
        acknowledged = device_messages.acknowledgement(message.id)
        if self._habits.disabled:
            return [acknowledged]
        self._begin = start
        started = Started(self._habits.window_chunks, len(self._habits.stored))
        return [acknowledged, *self._out(device_messages.started_v3(self._number(), message.token, started), now)]

    def _chunk_v3(self, index: int, data: bytes, now: float) -> list[Message]:
        if not isinstance(self._begin, Start):
            return []
        if index not in self._chunks:
            self._chunks[index] = data
            self._held_bytes += len(data)
        while self._upto + 1 in self._chunks:
            self._upto += 1
        self._unreported += 1
        gap, whole = self._upto != len(self._chunks), self._held_bytes >= self._begin.size_bytes
        if self._unreported >= RECEIVED_CHUNKS or gap or whole:
            return self._report()
        self._report_at = now + RECEIVED_S
        return []

    def _image_v3(self) -> bytes:
        return self._habits.stored + b"".join(self._chunks[index] for index in range(1, self._upto + 1))

    def _report(self) -> list[Message]:
        self._unreported, self._report_at = 0, None
        upto = self._upto
        received = ChunksReceived(upto, frozenset(index for index in self._chunks if index > upto))
        return [device_messages.chunks_received_v3(self._number(), received)]

    def _finish_v3(self, finish: Finish, message: Message, now: float) -> list[Message]:
        acknowledged = device_messages.acknowledgement(message.id)
        if finish.cancel:
            self._begin = None
            return [acknowledged]
        code, payload = self._judge_v3()
        answer = device_messages.answer(self._number(), message.token, code, payload, confirmable=True)
        if code == coap.CHANGED:
            self._applies_with = answer.id
        return [acknowledged, *self._out(answer, now)]

    def _judge_v3(self) -> tuple[int, bytes]:
        begin, image = self._begin, self._image_v3()
        if not isinstance(begin, Start) or len(image) != begin.size_bytes:
            return coap.BAD_REQUEST, b"incomplete"
        if self._habits.verdict is not None or begin.sha256 not in (None, hashlib.sha256(image).digest()):
            return coap.INTERNAL_ERROR, b"the image is broken"
        return coap.CHANGED, b'{"chunks":%d}' % len(self._chunks)

    # -- messages -----------------------------------------------------------------------------------------------------

    def _acknowledged(self, number: int) -> list[Message]:
        self._unacknowledged.pop(number, None)
        if number == self._applies_with:
            self.image = self._image_v3()
        return []

    def _number(self) -> int:
        number = self._next_id
        self._next_id = (number + 1) & 0xFFFF
        return number

    def _out(self, message: Message, now: float) -> list[Message]:
        if message.type == CON and not self._habits.reliable:
            self._unacknowledged[message.id] = message, now + AGAIN_S, 1
        return [message]
