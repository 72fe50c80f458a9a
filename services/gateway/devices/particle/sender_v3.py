"""The sender to devices that know update protocol 3, and no other (protocol section 7.4). Pure.

===========  ======================================  ==================================================================
state        reached by                              left by
===========  ======================================  ==================================================================
*asking*     ``POST /S`` is sent                     2.01 with window and offset: *sending*; an error, or 60 s: refused
*sending*    chunks, a window beyond what is         all are acknowledged: *finishing*
             acknowledged
*finishing*  ``POST /F`` is sent                     2.04: delivered, its acknowledgement has the device apply the image
===========  ======================================  ==================================================================

A chunk is sent again when an acknowledgement comes that lacks it a second after it was sent; in silence the first one
that is lacking is, after a second, two, four and so on. An error at any time is failure. Failed as stalled: 60 s
without a chunk newly acknowledged, ten times as many chunks as there are.
"""

from __future__ import annotations

from typing import Literal

from services.gateway.devices.particle import server_messages, update_messages, update_v3
from services.gateway.devices.particle.messages import Answer, DeviceMessage
from services.gateway.devices.particle.sending import (
    CHUNK_OVERHEAD_BYTES,
    SILENCE_S,
    Effect,
    Numbers,
    Plan,
    Progressed,
)
from services.gateway.devices.particle.transfer import Transfer, error_text, run_length
from services.gateway.devices.particle.update_v3 import ChunksReceived, Finish, Start
from services.gateway.devices.particle.violations import BadMessage

State = Literal["asking", "sending", "finishing"]

LACKING_S = 1.0
"""A chunk may be under way for so long, and its acknowledgement."""
MOST_WINDOW_CHUNKS = 256
"""Of a wider window no more is used."""
BURST_CHUNKS = 4
BURST_GAP_S = 0.02
"""On UDP so many chunks are sent at once, and then nothing for so long."""
SENDINGS = 10
SPARE_SENDINGS = 100
"""Chunks sent at most: so many times those of the image, and so many more."""
CHUNK_UNIT_BYTES = 4


def chunk_bytes_of(plan: Plan) -> int:
    """The size of a chunk: a multiple of four, from 512 on, or what a message holds if that is less."""
    most = plan.message_bytes - CHUNK_OVERHEAD_BYTES
    chunk_bytes = min(max(plan.chunk_bytes, update_messages.CHUNK_BYTES), most)
    return chunk_bytes // CHUNK_UNIT_BYTES * CHUNK_UNIT_BYTES


class SenderV3(Transfer):
    """Chunks count from 1 at the offset up to which the device has the image already."""

    def __init__(self, plan: Plan, numbers: Numbers) -> None:
        super().__init__(plan, numbers)
        self._state: State = "asking"
        self._chunk_bytes = chunk_bytes_of(plan)
        self._begins_at = 0
        self._count = 0
        self._window = 0
        self._upto = 0
        self._beyond: frozenset[int] = frozenset()
        self._highest = 0
        self._sent_at: dict[int, float] = {}
        self._lacking: list[int] = []
        self._silences = 0
        self._quiet_since = 0.0
        self._sendings = 0
        self._pause_until = 0.0

    def start(self, now: float) -> list[Effect]:
        """Offer the update; with its hash, so that the device can go on with what it has of it."""
        start = Start(self._plan.size_bytes, self._chunk_bytes, bytes.fromhex(self._plan.sha256))
        return self._ask(server_messages.start_v3(*self._pair(), start), now)

    # -- answers ----------------------------------------------------------------------------------------------------

    def _answered(self, answer: Answer, current: bool, now: float) -> list[Effect]:
        if not answer.good:
            if self._state == "asking":
                return self._refuse(error_text(answer))
            return self._fail("device_failed", error_text(answer))
        if not current or (answer.piggybacked and not answer.message.options and not answer.payload):
            return []
        self._request = None
        return self._started(answer, now) if self._state == "asking" else self._deliver()

    def _started(self, answer: Answer, now: float) -> list[Effect]:
        try:
            started = update_v3.read_started(answer.message)
        except BadMessage as error:
            return self._refuse(f"the device agreed in a way that cannot be read: {error}")
        left_bytes = self._plan.size_bytes - started.offset_bytes
        if left_bytes < 0:
            return self._refuse(f"the device has {started.offset_bytes} bytes of {self._plan.size_bytes} already")
        self._agreed = True
        self._state = "sending"
        self._begins_at = started.offset_bytes
        self._count = -(-left_bytes // self._chunk_bytes)
        self._window = min(started.window_chunks, MOST_WINDOW_CHUNKS)
        self._sendings = SENDINGS * self._count + SPARE_SENDINGS
        self._quiet_since = now
        self._deadline = now + SILENCE_S
        return [Progressed(started.offset_bytes), *self._flow(now)]

    def _told(self, said: DeviceMessage, now: float) -> list[Effect] | None:
        if not isinstance(said, ChunksReceived):
            return None
        if self._over or self._state != "sending" or not self._upto <= said.upto <= self._highest:
            return []
        before = self._upto + len(self._beyond)
        beyond = frozenset(index for index in said.beyond if index <= self._highest)
        self._beyond = beyond if said.upto > self._upto else self._beyond | beyond
        for index in range(self._upto + 1, said.upto + 1):
            self._sent_at.pop(index, None)
        self._upto = said.upto
        self._quiet_since, self._silences = now, 0
        if self._upto + len(self._beyond) > before:
            self._deadline = now + SILENCE_S
        self._lacking = [index for index in self._unacknowledged() if self._sent_at[index] + LACKING_S <= now]
        return [Progressed(self._end_of(self._upto)), *self._flow(now)]

    def _unacknowledged(self) -> list[int]:
        return [index for index in range(self._upto + 1, self._highest + 1) if index not in self._beyond]

    # -- sending ----------------------------------------------------------------------------------------------------

    def _flow(self, now: float) -> list[Effect]:
        if self._state != "sending":
            return []
        if self._upto == self._count:
            self._state = "finishing"
            return self._ask(server_messages.finish_v3(*self._pair()), now)
        if now < self._pause_until:
            return []
        effects: list[Effect] = []
        burst = self._window if self._plan.reliable else BURST_CHUNKS
        while len(effects) < burst and (index := self._next()) is not None:
            if not self._sendings:
                return [*effects, *self._give_up("stalled", "too many chunks get lost on the way")]
            data = self._source.take(self._offset_of(index), self._length_of(index))
            if data is None:
                return [*effects, *self._need(index)]
            effects.append(server_messages.chunk_v3(self._numbers.message_id(), index, data))
            self._sent(index, now)
        if effects and not self._plan.reliable:
            self._pause_until = now + BURST_GAP_S
        return effects

    def _next(self) -> int | None:
        if self._lacking:
            return self._lacking[0]
        following = self._highest + 1
        return following if following <= min(self._count, self._upto + self._window) else None

    def _sent(self, index: int, now: float) -> None:
        self._sendings -= 1
        self._sent_at[index] = now
        if self._lacking:
            del self._lacking[0]
        else:
            self._highest = index
        if len(self._sent_at) == 1:
            self._quiet_since = now

    def _need(self, index: int) -> list[Effect]:
        run = run_length(range(index, self._count + 1), 0, self._chunk_bytes) if index > self._highest else 1
        start = self._offset_of(index)
        return self._source.need(start, self._end_of(index + run - 1) - start)

    def _offset_of(self, index: int) -> int:
        return self._begins_at + (index - 1) * self._chunk_bytes

    def _end_of(self, index: int) -> int:
        return min(self._begins_at + index * self._chunk_bytes, self._plan.size_bytes)

    def _length_of(self, index: int) -> int:
        return self._end_of(index) - self._offset_of(index)

    def _pair(self) -> tuple[int, int]:
        return self._numbers.message_id(), self._numbers.token()

    # -- time ---------------------------------------------------------------------------------------------------------

    def _due_at(self) -> float | None:
        if self._state != "sending" or self._source.awaited:
            return None
        moments = [self._quiet_since + LACKING_S * 2**self._silences] if self._highest > self._upto else []
        if self._next() is not None:
            moments.append(self._pause_until)
        return min(moments, default=None)

    def _due(self, now: float) -> list[Effect]:
        if self._state != "sending" or self._source.awaited:
            return []
        if self._highest > self._upto and now >= self._quiet_since + LACKING_S * 2**self._silences:
            self._silences += 1
            self._lacking = self._lacking or self._unacknowledged()[:1]
        return self._flow(now)

    def _silent(self) -> list[Effect]:
        if self._state == "asking":
            return self._refuse("the device did not agree in time: its application may have updates disabled")
        return self._give_up("stalled", f"no answer from the device ({self._state})")

    def _farewell(self) -> list[Effect]:
        return [server_messages.finish_v3(*self._pair(), Finish(cancel=True))]
