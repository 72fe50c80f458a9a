"""What the platform asks one device over MQTT, and calls that wait for its answer (MQX-1, MQX-2, MQX-4). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from services.gateway.devices.calls import FlashFile, FunctionCall, Probe, Question, Signal, VariableRead
from services.gateway.devices.effects import Answer, Now
from services.gateway.devices.firmware import SETTING_UP
from services.gateway.devices.mqtt import values
from services.gateway.devices.mqtt.effects import Effect
from services.gateway.devices.mqtt.outbox import Outbox, Tag
from services.gateway.devices.mqtt.payloads import compact, decode_json
from services.gateway.devices.mqtt.violations import Rejected
from shared.errors import Refused, Unavailable

if TYPE_CHECKING:
    from services.gateway.devices.mqtt.session import Session

LISTENING_S = 5.0
"""How long a call waits for the device to subscribe to calls."""
PROBE = b"{}"


def ask(session: Session, number: int, question: Question, now: Now) -> list[Effect]:
    """Ask the device, or answer in its place."""
    match question:
        case FunctionCall() | VariableRead(fresh=True) if session.firmware.comes_first(now.s):
            return [Answer(number, Refused("busy", SETTING_UP))]
        case FunctionCall(name, argument):
            return _calls(session).call(number, name, argument, now.s)
        case VariableRead(name, fresh=True):
            return _calls(session).call(number, "getVariable", {"name": name}, now.s, reads=True)
        case VariableRead(name):
            return [Answer(number, _value(session, name))]
        case Probe():
            return _probe(session, number)
        case Signal():
            return [Answer(number, Refused("not_supported", "A device that speaks MQTT cannot be signalled."))]
        case FlashFile():
            return [
                Answer(number, Refused("not_supported", "A device that speaks MQTT takes versions only, not files."))
            ]


def answered(session: Session, number: int, payload: bytes) -> list[Effect]:
    """The device has answered a call."""
    answer = None if session.asking is None else session.asking.answered(number, payload)
    if answer is None:
        session.around.counts["unawaited_answers"] += 1  # MQU-5
        return []
    return [answer]


def _calls(session: Session) -> Asking:
    if session.asking is None:
        session.asking = Asking(session.outbox, session.around.limits.packet_bytes)
    return session.asking


def _value(session: Session, name: str) -> dict[str, Any] | Refused:
    try:
        return values.find(session, name)
    except Unavailable as error:  # not the device's fault: its connection stays
        return Refused("call_failed", f"The value cannot be read: {error}")


def _probe(session: Session, number: int) -> list[Effect]:
    """MQX-4. Where nothing can be sent that the device would acknowledge, it is online from its presence."""
    topic = session.outbox.attributes_topic()
    if topic is None or not session.outbox.granted(topic) or session.memory.updates.running:
        return [Answer(number, True)]
    return _calls(session).probe(number, topic)


@dataclass(slots=True)
class _Call:
    payload: bytes
    reads: bool
    """A variable is read: the answer is its value."""


class Asking:
    """Of one connection; made with its first call. Methods that return a list return effects."""

    __slots__ = ("_calls", "_most_bytes", "_outbox", "_unheard")

    def __init__(self, outbox: Outbox, most_bytes: int) -> None:
        self._outbox = outbox
        self._most_bytes = most_bytes
        self._calls: dict[int, _Call] = {}
        self._unheard: dict[int, float] = {}
        """Calls that wait for the device to listen, and until when; the one that waits longest is first."""

    def call(self, number: int, method: str, params: Any, now: float, *, reads: bool = False) -> list[Effect]:
        """Call the device, now or when it listens."""
        payload = compact({"method": method, "params": params})
        self._calls[number] = _Call(payload, reads)
        if len(payload) > self._most_bytes:
            return [self._too_large(number)]
        if self._outbox.call_topic(number) is None:
            self._unheard[number] = now + LISTENING_S
            return []
        return self._send(number)

    def listens(self) -> list[Effect]:
        """The device's subscriptions have changed."""
        effects: list[Effect] = []
        for number in list(self._unheard):
            if self._outbox.call_topic(number) is not None:
                del self._unheard[number]
                effects += self._send(number)
        return effects

    def _send(self, number: int) -> list[Effect]:
        call, topic = self._calls[number], self._outbox.call_topic(number)
        assert topic is not None
        if not self._outbox.fits(topic, len(call.payload)):  # MQD-4
            return [self._too_large(number)]
        data = self._outbox.message(topic, call.payload, Tag("call", number))
        return [data] if data else []

    def _too_large(self, number: int) -> Answer:
        del self._calls[number]
        return Answer(number, Refused("too_large_for_device", "The call is larger than the device takes."))

    def probe(self, number: int, topic: str) -> list[Effect]:
        """Send something that the device acknowledges (MQX-4)."""
        data = self._outbox.message(topic, PROBE, Tag("probe", number))
        return [data] if data else []

    def due_at(self) -> float | None:
        """When a call has waited long enough for the device to listen."""
        return next(iter(self._unheard.values()), None)

    def due(self, now: float) -> list[Answer]:
        """Calls that the device does not listen to."""
        late = [number for number, until in self._unheard.items() if now >= until]
        for number in late:
            self.forget(number)
        refused = Refused("device_not_listening", "The device is online and has not subscribed to calls.")
        return [Answer(number, refused) for number in late]

    def answered(self, number: int, payload: bytes) -> Answer | None:
        """The device has answered; None if nobody waits for it (MQU-5)."""
        call = self._calls.pop(number, None)
        if call is None or number in self._unheard:
            if call is not None:
                self._calls[number] = call  # it was not asked yet
            return None
        outcome = returned(payload)
        if call.reads and not isinstance(outcome, Refused):
            outcome = {"value": outcome}
        return Answer(number, outcome)

    def forget(self, number: int) -> None:
        """Nobody waits for it any more: what was not sent is not sent."""
        self._calls.pop(number, None)
        self._unheard.pop(number, None)
        self._outbox.withdraw(Tag("call", number))
        self._outbox.withdraw(Tag("probe", number))


def returned(payload: bytes) -> Any:
    """What the device's answer says: a JSON value, else text; ``Refused`` for an object with a text ``error``."""
    try:
        value = decode_json(payload, "answer")
    except Rejected:
        return payload.decode(errors="replace")
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        return Refused("call_failed", value["error"])
    return value
