"""The sender to devices that do not know update protocol 3 (protocol sections 7.1 to 7.3). Pure.

===========  ============================================  ============================================================
state        reached by                                    left by
===========  ============================================  ============================================================
*asking*     ``POST /u`` is sent                           2.04 with the flags: *slow* or *fast*; error, 60 s: refused
*slow*       one chunk is sent                             2.04: the next one, behind the last *finishing*; 4.00: the
                                                           same again, five times
*fast*       chunks are sent, one behind the other         the last one: *finishing*
*finishing*  ``PUT /u`` is sent                            2.04: delivered, or failed if it holds an error; 4.00:
                                                           *listing*; a list: *again*
*listing*    chunks are missing, the list is not here yet  a list: *again*; 5 s: *finishing*
*again*      the listed chunks are sent                    the last one: *waiting*
*waiting*    firmware up to 0.7 finishes by itself now     a list: *again*; 1.5 s: *finishing*
===========  ============================================  ============================================================

From *slow* or *fast* on, a ``PUT /u`` of the device or a good ``ota_result`` is delivery, an error with a code failure.
Failed as stalled: 60 s of silence, a list that comes back unchanged three times, ten times as many chunks as there are.
"""

from __future__ import annotations

from typing import Literal

from services.gateway.devices.particle import coap, server_messages, update_messages
from services.gateway.devices.particle.messages import Answer, DeviceMessage, MissingChunks, UpdateDone
from services.gateway.devices.particle.sending import (
    CHUNK_OVERHEAD_BYTES,
    LEAST_CHUNK_BYTES,
    SILENCE_S,
    Effect,
    Numbers,
    Plan,
    Progressed,
)
from services.gateway.devices.particle.transfer import Transfer, error_text, run_length
from services.gateway.devices.particle.update_messages import UpdateBegin
from services.gateway.devices.particle.violations import BadMessage

State = Literal["asking", "slow", "fast", "finishing", "listing", "again", "waiting"]

CHUNK_GAP_S = 0.03
"""Between two chunks of fast mode on UDP, where nothing else holds the sender back."""
OWN_FINISH_S = 1.5
"""A device of firmware up to 0.7 gets so long to finish by itself."""
LIST_S = 5.0
DAMAGED = 5
"""A chunk that arrives damaged so often is not sent once more."""
SAME_LISTS = 3
"""Times that a list may come back without progress."""
SENDINGS = 10
SPARE_SENDINGS = 100
"""Chunks sent at most: so many times those of the image, and so many more."""
MOST_FAST_CHUNKS = 65_536
"""Their index has two bytes."""


def chunk_bytes_of(plan: Plan) -> int:
    """The size of a chunk: as the device announced it, as long as that makes sense and fits a message."""
    announced = plan.chunk_bytes if plan.chunk_bytes >= LEAST_CHUNK_BYTES else update_messages.CHUNK_BYTES
    return min(announced, plan.message_bytes - CHUNK_OVERHEAD_BYTES)


class ClassicSender(Transfer):
    """Slow mode and fast mode; which one is the device's choice."""

    def __init__(self, plan: Plan, numbers: Numbers) -> None:
        super().__init__(plan, numbers)
        self._chunk_bytes = chunk_bytes_of(plan)
        self._count = -(-plan.size_bytes // self._chunk_bytes)
        self._state: State = "asking"
        self._fast = False
        self._order: range | tuple[int, ...] = range(self._count)
        self._at = 0
        self._damaged = 0
        self._sendings = SENDINGS * self._count + SPARE_SENDINGS
        self._listed: tuple[int, ...] | None = None
        self._same = 0
        self._due_time: float | None = None

    def start(self, now: float) -> list[Effect]:
        """Offer the update."""
        fast = self._plan.fast and self._count <= MOST_FAST_CHUNKS
        begin = UpdateBegin(self._plan.size_bytes, self._chunk_bytes, fast)
        return self._ask(server_messages.update_begin(*self._pair(), begin), now)

    # -- sending ----------------------------------------------------------------------------------------------------

    def _flow(self, now: float) -> list[Effect]:
        if self._state == "slow":
            return self._next_slow(now)
        return self._next_fast(now) if self._state in ("fast", "again") else []

    def _next_slow(self, now: float) -> list[Effect]:
        if self._request is not None:
            return []
        if self._at == self._count:
            return self._finish(now)
        data = self._chunk()
        if data is None:
            return self._need()
        return self._ask(server_messages.chunk(*self._pair(), data), now)

    def _next_fast(self, now: float) -> list[Effect]:
        if self._due_time is not None and now < self._due_time:
            return []
        effects: list[Effect] = []
        wanted: list[Effect] = []
        while self._at < len(self._order):
            if not self._sendings:
                return [*effects, *self._fail("stalled", "too many chunks get lost on the way")]
            data = self._chunk()
            if data is None:
                wanted = self._need()
                break
            effects.append(server_messages.chunk(*self._pair(), data, self._order[self._at]))
            self._sendings -= 1
            self._at += 1
            if not self._plan.reliable:
                self._due_time = now + CHUNK_GAP_S
                break
        if self._state == "fast" and effects:
            effects.append(self._progress())
        return effects + (self._all_sent(now) if self._at == len(self._order) else wanted)

    def _all_sent(self, now: float) -> list[Effect]:
        if self._state == "fast":
            return self._finish(now)
        self._state = "waiting"
        self._due_time = now + OWN_FINISH_S
        return []

    def _finish(self, now: float) -> list[Effect]:
        self._state = "finishing"
        self._due_time = None
        return self._ask(server_messages.update_done(*self._pair()), now)

    def _chunk(self) -> bytes | None:
        offset = self._order[self._at] * self._chunk_bytes
        return self._source.take(offset, min(self._chunk_bytes, self._plan.size_bytes - offset))

    def _need(self) -> list[Effect]:
        offset = self._order[self._at] * self._chunk_bytes
        length = run_length(self._order, self._at, self._chunk_bytes) * self._chunk_bytes
        return self._source.need(offset, min(length, self._plan.size_bytes - offset))

    def _progress(self) -> Progressed:
        return Progressed(min(self._at * self._chunk_bytes, self._plan.size_bytes))

    def _pair(self) -> tuple[int, int]:
        return self._numbers.message_id(), self._numbers.token()

    # -- answers ----------------------------------------------------------------------------------------------------

    def _answered(self, answer: Answer, current: bool, now: float) -> list[Effect]:
        if self._aborts(answer):
            return self._refuse(_refusal(answer)) if self._state == "asking" else self._broke(answer)
        if not current:
            return []
        self._request = None
        match self._state:
            case "asking":
                return self._ready(answer, now)
            case "slow":
                return self._stored(answer, now)
            case "finishing":
                return self._judged_whole(answer, now)
        return []

    def _aborts(self, answer: Answer) -> bool:
        """An error with a code may come at any time, whatever its token."""
        return not answer.good and not answer.piggybacked and len(answer.payload or b"") == 1

    def _broke(self, answer: Answer) -> list[Effect]:
        return self._fail("device_failed", error_text(answer))

    def _ready(self, answer: Answer, now: float) -> list[Effect]:
        if not answer.good:
            return self._refuse(_refusal(answer))
        try:
            self._fast = update_messages.read_ready(answer.payload)
        except BadMessage:
            return self._refuse("the device is ready, but does not say for which mode")
        self._agreed = True
        self._state = "fast" if self._fast else "slow"
        return self._flow(now)

    def _stored(self, answer: Answer, now: float) -> list[Effect]:
        if answer.good:
            self._at += 1
            self._damaged = 0
            return [self._progress(), *self._flow(now)]
        if answer.code != coap.BAD_REQUEST:
            return self._broke(answer)
        self._damaged += 1
        if self._damaged > DAMAGED:
            return self._fail("device_failed", f"chunk {self._at} arrives damaged again and again")
        return self._flow(now)

    def _judged_whole(self, answer: Answer, now: float) -> list[Effect]:
        if answer.good:
            return self._whole(answer.payload)
        if answer.code != coap.BAD_REQUEST or not self._fast:
            return self._broke(answer)
        self._state = "listing"
        self._due_time = now + LIST_S
        self._deadline = now + SILENCE_S
        return []

    def _whole(self, payload: bytes | None) -> list[Effect]:
        try:
            result = update_messages.read_result(payload)
        except BadMessage:
            return self._fail("device_failed", "the device judged the update in a way that cannot be read")
        if result.good:
            return self._deliver()
        code = "" if result.error is None else f" {result.error}"
        return self._fail("device_failed", f"the device judged the update as broken, error{code}")

    # -- what the device says by itself -------------------------------------------------------------------------------

    def _told(self, said: DeviceMessage, now: float) -> list[Effect] | None:
        match said:
            case MissingChunks(indexes):
                return self._missing(indexes, now)
            case UpdateDone(payload):
                return [] if self._over or self._state == "asking" else self._whole(payload)
        return None

    def _missing(self, indexes: tuple[int, ...], now: float) -> list[Effect]:
        if self._over or self._state not in ("finishing", "listing", "waiting"):
            return []
        self._request = None
        self._deadline = now + SILENCE_S
        order = tuple(index for index in indexes if index < self._count)
        if order == self._listed or not order:
            self._same += 1
            if self._same >= SAME_LISTS:
                return self._fail("stalled", f"{len(order)} chunks are missing, however often they are sent")
        else:
            self._same = 0
        self._listed = self._order = order
        self._at = 0
        self._state, self._due_time = "again", None
        return self._flow(now) if order else self._all_sent(now)

    # -- time ---------------------------------------------------------------------------------------------------------

    def _due_at(self) -> float | None:
        return None if self._source.awaited else self._due_time

    def _due(self, now: float) -> list[Effect]:
        due_at = self._due_at()
        if due_at is None or now < due_at:
            return []
        if self._state in ("listing", "waiting"):
            if self._state == "listing":
                self._same += 1
                if self._same >= SAME_LISTS:
                    return self._fail("stalled", "chunks are missing, and the device does not say which")
            return self._finish(now)
        return self._flow(now)

    def _silent(self) -> list[Effect]:
        if self._state == "asking":
            return self._refuse("the device did not agree in time: its application may have updates disabled")
        return self._fail("stalled", f"no answer from the device ({self._state})")

    def _farewell(self) -> list[Effect]:
        return []


def _refusal(answer: Answer) -> str:
    return f"{error_text(answer)}: the image is too big for it, or its application has updates disabled"
