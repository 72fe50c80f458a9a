"""What the senders of both update protocols share: the image's bytes at hand, the outstanding request, and how answers
and ends are handled. Pure; the states are those of ``sender_classic.py`` and ``sender_v3.py``."""

from __future__ import annotations

from abc import ABC, abstractmethod

from services.gateway.devices.particle import coap, messages, server_messages, update_messages
from services.gateway.devices.particle.coap import CON, Message
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.messages import Acknowledged, Answer, DeviceMessage, Rejected
from services.gateway.devices.particle.sending import (
    RETRANSMISSIONS,
    RETRANSMIT_S,
    SILENCE_S,
    STRETCH_BYTES,
    Delivered,
    Effect,
    Failed,
    FailureReason,
    Need,
    Numbers,
    Plan,
    Refused,
)
from services.gateway.devices.particle.violations import BadMessage

RESULT_EVENT = "spark/device/ota_result"
ERROR_TEXT_BYTES = 200


class Source:
    """The stretch of the image that is at hand."""

    __slots__ = ("_data", "_offset", "_open")

    def __init__(self) -> None:
        self._offset = 0
        self._data = b""
        self._open: int | None = None

    @property
    def awaited(self) -> bool:
        """Whether bytes were asked for and have not come."""
        return self._open is not None

    def take(self, offset: int, length: int) -> bytes | None:
        """These bytes, if they are all at hand."""
        start = offset - self._offset
        if start < 0 or start + length > len(self._data):
            return None
        return self._data[start : start + length]

    def need(self, offset: int, length: int) -> list[Effect]:
        """Ask for these bytes, or for those of them that are not at hand; nothing while others are awaited."""
        if self._open is not None:
            return []
        start = offset - self._offset
        self._data = self._data[start:] if 0 <= start <= len(self._data) else b""
        self._offset = offset
        self._open = offset + len(self._data)
        return [Need(self._open, length - len(self._data))]

    def supply(self, offset: int, data: bytes | memoryview) -> bool:
        """Take what was asked for; whether it was."""
        if offset != self._open:
            return False
        self._data += bytes(data)
        self._open = None
        return True


class Request:
    """A request that waits for its answer, and on UDP is repeated until it is acknowledged."""

    __slots__ = ("_again_at", "_tries", "acknowledged", "message")

    def __init__(self, message: Message, repeated: bool, now: float) -> None:
        self.message = message
        self.acknowledged = False
        self._tries = 0
        self._again_at = now + RETRANSMIT_S if repeated else None

    def wake_at(self) -> float | None:
        """When it is to be repeated."""
        return None if self.acknowledged else self._again_at

    def again(self, now: float) -> list[Effect]:
        """The same bytes once more, when it is time."""
        again_at = self.wake_at()
        if again_at is None or now < again_at:
            return []
        self._tries += 1
        self._again_at = now + RETRANSMIT_S * 2**self._tries if self._tries < RETRANSMISSIONS else None
        return [self.message]


class Transfer(ABC):
    """A sender without its states: at most one request is outstanding, at most one stretch of the image awaited, and
    ``_deadline`` is when the silence has lasted too long."""

    def __init__(self, plan: Plan, numbers: Numbers) -> None:
        self._plan = plan
        self._numbers = numbers
        self._source = Source()
        self._request: Request | None = None
        self._deadline: float | None = None
        self._agreed = False
        self._delivered = False
        self._over = False

    @property
    def over(self) -> bool:
        """Whether it was refused, failed or was delivered; it may still be fed."""
        return self._over

    def receive(self, message: Message, now: float) -> list[Effect] | None:
        """A message of the device, as ``Sender`` says."""
        try:
            said = messages.read(message)
            result = update_messages.read_result(said.data) if _is_result(said) and isinstance(said, Event) else None
        except BadMessage:
            return None
        taken = self._judged(result, now) if result is not None else self._heard(said, now)
        if taken is None:
            return None
        acknowledged: list[Effect] = (
            [server_messages.acknowledgement(message.id)] if message.type == CON and message.code else []
        )
        return acknowledged + taken

    def supply(self, offset: int, data: bytes | memoryview | None, now: float) -> list[Effect]:
        """Bytes of the image."""
        if self._over:
            return []
        if not data:
            return self._give_up("image_unreadable", f"the image cannot be read at byte {offset}")
        if not self._source.supply(offset, data):
            return []
        self._deadline = now + SILENCE_S
        return self._flow(now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        if self._over:
            return []
        if self._deadline is not None and not self._source.awaited and now >= self._deadline:
            return self._silent()
        again = self._request.again(now) if self._request is not None else []
        return again + self._due(now)

    def wake_at(self) -> float | None:
        """When ``tick`` has something to do."""
        if self._over:
            return None
        moments = [self._due_at(), self._request.wake_at() if self._request is not None else None]
        if not self._source.awaited:
            moments.append(self._deadline)
        return min((moment for moment in moments if moment is not None), default=None)

    def cancel(self, now: float) -> list[Effect]:
        """Give it up."""
        if self._over:
            return []
        self._end()
        return self._farewell()

    # -- what the protocols fill in ---------------------------------------------------------------------------------

    @abstractmethod
    def _flow(self, now: float) -> list[Effect]:
        """Send what may be sent now; ask for what is missing for it."""

    @abstractmethod
    def _answered(self, answer: Answer, current: bool, now: float) -> list[Effect]:
        """An answer, to the outstanding request or to none that is outstanding."""

    @abstractmethod
    def _told(self, said: DeviceMessage, now: float) -> list[Effect] | None:
        """A message that is no answer; None if it is not of this protocol."""

    @abstractmethod
    def _silent(self) -> list[Effect]:
        """The device has said nothing for too long."""

    @abstractmethod
    def _due(self, now: float) -> list[Effect]:
        """What is due by the clock."""

    @abstractmethod
    def _due_at(self) -> float | None:
        """When something is."""

    @abstractmethod
    def _farewell(self) -> list[Effect]:
        """What a device is told when its transfer is given up."""

    # -- what they share --------------------------------------------------------------------------------------------

    def _ask(self, message: Message, now: float) -> list[Effect]:
        self._request = Request(message, not self._plan.reliable, now)
        self._deadline = now + SILENCE_S
        return [message]

    def _heard(self, said: DeviceMessage, now: float) -> list[Effect] | None:
        request = self._request
        match said:
            case Answer():
                return [] if self._over else self._answered(said, self._is_current(said), now)
            case Acknowledged(id) | Rejected(id):
                if request is None or id != request.message.id:
                    return None
                request.acknowledged = True
                return [] if self._over or isinstance(said, Acknowledged) else self._rejected()
        return self._told(said, now)

    def _is_current(self, answer: Answer) -> bool:
        """Whether it answers the outstanding request; a refusal inside an ACK may come without the token."""
        if self._request is None:
            return False
        asked = self._request.message
        return answer.id == asked.id if answer.piggybacked else answer.token == asked.token

    def _rejected(self) -> list[Effect]:
        return self._fail("device_failed", "the device cannot read the request")

    def _judged(self, result: update_messages.UpdateResult, now: float) -> list[Effect] | None:
        """The device itself says what came of the update, perhaps after it was delivered."""
        if not result.good and self._delivered:
            self._delivered = False
            return [Failed("device_failed", "the device reports that it could not apply the update")]
        if self._over or not self._agreed:
            return None
        return self._deliver() if result.good else self._fail("device_failed", "the device reports an error")

    def _end(self) -> None:
        self._over = True
        self._deadline = None

    def _deliver(self) -> list[Effect]:
        self._end()
        self._delivered = True
        return [Delivered()]

    def _fail(self, reason: FailureReason, text: str) -> list[Effect]:
        self._end()
        return [Failed(reason, text)]

    def _refuse(self, text: str) -> list[Effect]:
        self._end()
        return [Refused(text)]

    def _give_up(self, reason: FailureReason, text: str) -> list[Effect]:
        return [*self._farewell(), *self._fail(reason, text)]


def run_length(order: range | tuple[int, ...], at: int, chunk_bytes: int) -> int:
    """How many chunks of this order follow one another in the image from place ``at`` on, and fit one stretch."""
    most = max(1, STRETCH_BYTES // chunk_bytes)
    count = 1
    while count < most and at + count < len(order) and order[at + count] == order[at] + count:
        count += 1
    return count


def error_text(answer: Answer) -> str:
    """An error in words: its code, and what the device says with it."""
    payload = answer.payload or b""
    if not payload:
        said = ""
    elif len(payload) == 1:
        said = f", error {payload[0]}"
    else:
        said = f", {payload[:ERROR_TEXT_BYTES].decode(errors='replace')}"
    return f"the device answered {coap.code_text(answer.code)}{said}"


def _is_result(said: DeviceMessage) -> bool:
    return isinstance(said, Event) and said.name == RESULT_EVENT
