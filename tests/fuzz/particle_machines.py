"""What Particle's protocol does with states: sessions, senders of firmware, DTLS. The first byte of a step says what
happens, the others with what."""

from __future__ import annotations

import hashlib
import json
from itertools import count
from typing import Any

from services.gateway.devices.calls import FunctionCall, Probe, Question, Signal, VariableRead
from services.gateway.devices.effects import Close
from services.gateway.devices.particle import coap, device_messages, frames
from services.gateway.devices.particle.admission import Admitted
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.device_updates import Firmware, Habits
from services.gateway.devices.particle.dtls.client import NEW as NEW_FIRMWARE
from services.gateway.devices.particle.dtls.client import OLD as OLD_FIRMWARE
from services.gateway.devices.particle.dtls.endpoint import Endpoint
from services.gateway.devices.particle.dtls.events import Established, Output
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.sender import sender_of
from services.gateway.devices.particle.sending import Delivered, Failed, Need, Refused
from services.gateway.devices.particle.violations import BadMessage
from services.gateway.entries import ImageEntry
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DevicePublished
from tests.fuzz.codecs import RECORDED
from tests.fuzz.mutators import Steps
from tests.fuzz.rolling_out import rolled_out
from tests.fuzz.targets import Kept, Target
from tests.gateway.devices.particle.desk import DESCRIPTION, PRODUCT, Desk, ParticleDirectory
from tests.gateway.devices.particle.dtls.recorded import RecordedSession, sessions
from tests.gateway.devices.particle.dtls.test_recorded_sessions import endpoint_for
from tests.gateway.devices.particle.dtls.wire import DEVICE_ID, connected
from tests.gateway.devices.particle.transferring import IMAGE, Counting, Link, plan_of
from tests.gateway.devices.particle.vectors import SESSIONS

CONTEXT = Context.new("device:x", "gateway:a")
SESSION_BYTES = 200_000
"""Of one session with its description, subscriptions and update, at the most hostile."""
SENDER_BYTES = 60_000
ENDPOINT_BYTES = 100_000
"""Of an endpoint with the few addresses of an input."""
SILENCES = 100
"""Times that a sender may wait for a device that says nothing any more; it gives up before."""

HELLOS = [Hello(PRODUCT, 1, flags, platform) for flags in (0, 0x36, 0x37, 0xB7) for platform in (6, 10)]
SAY, ANSWER, WAIT, NEWS, ASK, SUPPLY, CONNECT, STORE, DELIVER, RESUME = range(10)


class Line(Desk):
    """A session with all that can happen to it; all facts must keep their contracts, all messages fit a frame."""

    def __init__(self) -> None:
        directory = ParticleDirectory()
        directory.add(released_version=2)
        directory.change_product(released_version=2)
        sha256 = hashlib.sha256(IMAGE).hexdigest()
        directory.images[PRODUCT, 2] = ImageEntry(PRODUCT, 2, "v2", len(IMAGE), sha256)
        super().__init__(directory)
        self._questions = count(1)

    def open(self, data: bytes) -> None:
        """Connect, over UDP or TCP, with one firmware or another; unless somebody is."""
        kind = data[0] if data else 0
        hello = HELLOS[kind % len(HELLOS)]
        if self.closed is None and hasattr(self, "session"):
            self.lose()
            self.closed = Close(b"", "kicked")
        self.fetches.clear()
        if isinstance(self.admit(hello), Admitted):
            self.connect(hello, reliable=kind < 128)

    def step(self, step: bytes) -> None:
        """One thing that happens."""
        kind, data = step[0] % 10 if step else SAY, step[1:]
        if kind == CONNECT:
            return self.open(data)
        if kind == RESUME:
            return self._resume(data)
        if self.closed is not None:
            return None
        match kind:
            case 0:
                self.bytes(data[: frames.MAX_MESSAGE_BYTES])
            case 1:
                self._answer(data)
            case 2:
                self.wait(int.from_bytes(data[:2], "big") / 10, alive=len(data) > 2)
            case 3:
                self._news(data)
            case 4:
                self._question(data)
            case 5:
                self._supply(data)
            case 7:
                self.waits = bool(data)
                self.store(lost=len(data) > 1)
            case 8:
                self.deliver(_published(self, data))
        return None

    def _resume(self, data: bytes) -> None:
        """Go on from what is kept, as after a restart of the gateway."""
        if self.closed is None:
            kept = self.session.kept()
            self.lose()
            self.fetches.clear()
            hello = HELLOS[len(data) % len(HELLOS)]
            if isinstance(self.admit(hello), Admitted):
                self.resume(kept, hello)
            else:
                self.closed = Close(b"", "kicked")

    def _answer(self, data: bytes) -> None:
        """To one of the last messages, as the device would match it."""
        if not self.sent:
            return
        back, how, code = (data[:3] + bytes(3))[:3]
        asked = self.sent[-1 - back % min(len(self.sent), 64)]
        payload = data[4:2_000] if len(data) > 3 else None
        self.say(Message(how % 4, code, asked.id if how < 128 else self.id, asked.token, (), payload))

    def _news(self, data: bytes) -> None:
        change = data[0] % 4 if data else 0
        if change == 0 and len(data) > 3:
            self.directory.change(**rolled_out(data[1:]))
        elif change == 0:
            self.directory.change(released_version=None if len(data) > 1 else 2, releases=None)
        elif change == 1:
            self.directory.change(member={"product_id": PRODUCT if len(data) > 1 else None})
        elif change == 2:
            self.directory.change(owner_id="0123456789abcdef0123bbbb" if len(data) > 1 else None)
        else:
            self.directory.change(key_der=b"another" if len(data) > 9 else b"the key on record")
        self.news()

    def _question(self, data: bytes) -> None:
        text, number = data[1:].decode(errors="replace"), next(self._questions)
        questions: list[Question] = [
            FunctionCall("brew", text),
            FunctionCall(text, ""),
            VariableRead("temp"),
            VariableRead(text),
            Probe(),
            Signal(bool(text)),
        ]
        self.ask(questions[data[0] % len(questions) if data else 0], number)
        if len(data) % 5 == 4:
            self.session.unask(number)

    def _supply(self, data: bytes) -> None:
        if self.fetches:
            fetch = self.fetches.pop(0)
            length = 1 + data[0] * 32 if data else fetch.length
            piece = IMAGE[fetch.offset : fetch.offset + min(length, fetch.length)]
            self.supply(fetch.offset, None if len(data) > 2 else piece)


def _published(line: Line, data: bytes) -> DevicePublished:
    name, text = data[:20].hex() or "door", data[20:].decode(errors="replace")
    encoding: Any = "text"
    return DevicePublished("b" * 24, PRODUCT, name, text, encoding, 60, False, line.now.at, None, None)


def session(steps: Steps) -> Kept:
    """A session of a device that does anything."""
    line = Line()
    line.open(b"")
    for step in steps:
        line.step(step)
    line.lose("connection_lost" if line.closed is None else line.closed.ending)
    for fact in (*line.facts, *line.published):
        CONTRACTS.encode(fact, 0, CONTEXT)
    assert all(len(data) <= frames.MAX_MESSAGE_BYTES for data in line.raw)
    return Kept((line.session, line.memory), (line.directory, line.around, line.limits))


DESCRIBED = bytes((ANSWER, 0, 2, coap.CONTENT, 0)) + DESCRIPTION
PAUSE, LONG = bytes((WAIT, 0, 30)), bytes((WAIT, 4, 0, 1))
SUPPLIED = bytes((SUPPLY,))
AGREED = bytes((ANSWER, 0, 2, coap.CHANGED, 0))
RECEIVED = bytes((ANSWER, 0, 2, 0))


WHOLE = json.dumps({"f": [f"f{n:062}" for n in range(28)]}).encode()
POSTED = coap.encode(device_messages.describe_post(9, 2, DESCRIPTION))


def _of_device(recorded: dict[str, Any]) -> Steps:
    told = [one["coap"] for one in recorded["messages"] if one["from"] == "device"]
    return tuple(bytes((SAY,)) + bytes.fromhex(data) for data in told)


SESSION_SEEDS: tuple[Steps, ...] = (
    *(_of_device(recorded) for recorded in SESSIONS),
    *((bytes((CONNECT, 128)), *_of_device(recorded)) for recorded in SESSIONS),
    (DESCRIBED, *(bytes((ASK, kind)) + b"text" for kind in range(6)), AGREED, PAUSE, LONG),
    (DESCRIBED, bytes((ASK, 2)), bytes((ANSWER, 0, 2, coap.CONTENT, 0)) + bytes(8), bytes((ASK, 0)), AGREED + b"\x07"),
    (DESCRIBED, PAUSE, AGREED, SUPPLIED, *(RECEIVED, SUPPLIED) * 12, bytes((ANSWER, 0, 1, coap.CHANGED, 0)), LONG),
    (DESCRIBED, PAUSE, AGREED + b"\x01", SUPPLIED, SUPPLIED, PAUSE, RECEIVED, bytes((WAIT, 3, 0)), LONG),
    *(
        (bytes((CONNECT, kind)), DESCRIBED, PAUSE, RECEIVED, AGREED, SUPPLIED, PAUSE, SUPPLIED, AGREED, LONG, LONG)
        for kind in (2, 4, 6, 7, 128, 130, 134)
    ),
    (bytes((STORE, 1)), *(bytes((SAY,)) + data for data in RECORDED[2:9]), bytes((STORE, 1, 1)), bytes((DELIVER,))),
    (*_of_device(SESSIONS[-1]), bytes((RESUME,)), DESCRIBED, bytes((ASK, 2)), PAUSE, bytes((RESUME, 1)), AGREED, LONG),
    (DESCRIBED[:5] + WHOLE, bytes((ASK, 0)) + b"x", *(bytes((SAY,)) + POSTED, bytes((RESUME, 2)))),
    (DESCRIBED, *(bytes((NEWS, change, 0)) for change in (0, 1, 2, 1, 0)), PAUSE, bytes((NEWS, 0)), LONG),
)

# -- senders of firmware ------------------------------------------------------------------------------------------

_FIRMWARES: tuple[tuple[Firmware, bool], ...] = (("waiting", True), ("waiting", False), ("v3", True))
HABITS = [
    Habits(firmware=firmware, reliable=reliable, fast=fast)
    for firmware, fast in _FIRMWARES
    for reliable in (True, False)
]


def sender(steps: Steps) -> object:
    """A sender and a device that answers anything; when the device says nothing any more, the sender comes to an
    end. The first step chooses what is sent to whom."""
    habits = HABITS[len(steps[0]) % len(HABITS)]
    made = sender_of(plan_of(IMAGE, habits, 64 + 8 * (steps[0] + b"\x38")[0]), Counting())
    sent: list[Message] = []
    needs: list[Need] = []
    now = 0.0

    def do(effects: list[Any] | None) -> None:
        for effect in effects or ():
            if isinstance(effect, Message):
                assert len(coap.encode(effect)) <= frames.MAX_MESSAGE_BYTES
                sent.append(effect)
            elif isinstance(effect, Need):
                assert 0 < effect.length <= 16_384
                assert effect.offset + effect.length <= len(IMAGE)
                needs.append(effect)
                assert len(needs) == 1
            else:
                assert not isinstance(effect, Delivered | Refused | Failed) or made.over

    do(made.start(now))
    for step in steps[1:]:
        kind, data = step[0] % 5 if step else 0, step[1:]
        match kind:
            case 0:
                try:
                    do(made.receive(coap.decode(data), now))
                except BadMessage:
                    continue
            case 1:
                back, how, code = (data[:3] + bytes(3))[:3]
                asked = sent[-1 - back % min(len(sent), 64)]
                payload = data[3:] or None
                do(made.receive(Message(how % 4, code, asked.id, asked.token, (), payload), now))
            case 2:
                now += int.from_bytes(data[:2], "big") / 10
                do(made.tick(now))
            case 3 if needs:
                need = needs.pop()
                length = min(need.length, 1 + data[0] * 64) if data else need.length
                do(made.supply(need.offset, None if len(data) > 2 else IMAGE[need.offset : need.offset + length], now))
            case 4 if data[:1] == b"c":
                do(made.cancel(now))
        del sent[:-64]
    for _ in range(SILENCES + len(IMAGE) // 64):
        wake_at = made.wake_at()
        if needs:
            need = needs.pop()
            do(made.supply(need.offset, IMAGE[need.offset : need.offset + need.length], now))
        elif wake_at is not None:
            now = max(now, wake_at)
            do(made.tick(now))
    assert made.over, "it waits for a device that says nothing"
    return Kept(made, (IMAGE,))


def _said(message: Message) -> bytes:
    return b"\x00" + coap.encode(message)


def _told(kind: int) -> Steps:
    """What a device says in a whole update."""
    link = Link(IMAGE, HABITS[kind])
    link.run()
    return (bytes(kind), *(step for message in link.heard for step in (_said(message), GIVEN, TICK)))


YES, HEARD, TICK, GIVEN = bytes((1, 0, 2, coap.CHANGED)), bytes((1, 0, 2, 0)), b"\x02\x00\x01", b"\x03"
UPDATES = [data for data in RECORDED if b"\xb1u" in data or b"\xb1c" in data or b"ota_result" in data]
SENDER_SEEDS: tuple[Steps, ...] = (
    *(_told(kind) for kind in range(len(HABITS))),
    *((bytes(kind), YES, GIVEN, *(HEARD, GIVEN) * 20, YES, TICK) for kind in range(6)),
    *((bytes(kind), YES, *(GIVEN, TICK, TICK) * 8, *(b"\x00" + data for data in UPDATES)) for kind in range(6)),
    *((bytes(kind), bytes((1, 0, 2, 0x9F)), b"\x02\x02\x58", b"\x04c", b"\x03\x01\x00\x00") for kind in range(6)),
)

# -- DTLS ---------------------------------------------------------------------------------------------------------

ADDRESSES = [("192.0.2.7", 40_000), ("198.51.100.9", 41_000), ("192.0.2.7", 40_001), ("203.0.113.5", 5)]


class Socket:
    """An endpoint at its socket. What somebody unknown is answered is not longer than what came from them, so that
    nobody can be flooded by way of it."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.now = 0.0

    def heed(self, output: Output) -> None:
        """As the layer above does when it has the Hello."""
        for event in output.events:
            if isinstance(event, Established):
                self.endpoint.bind(event.session, DEVICE_ID)

    def receive(self, data: bytes, address: tuple[str, int]) -> None:
        """A datagram."""
        known = self.endpoint.handshakes or len(self.endpoint)
        output = self.endpoint.receive(data, address, self.now)
        self.heed(output)
        if not known and not self.endpoint.handshakes:
            assert sum(len(datagram) for datagram, _ in output.datagrams) <= len(data)

    def pass_time(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds
        self.heed(self.endpoint.tick(self.now))


def endpoint(recorded: RecordedSession, steps: Steps) -> Kept:
    """An endpoint that hears what a recorded device said, more or less."""
    socket = Socket(endpoint_for(recorded))
    for step in steps:
        kind, data = step[0] % 4 if step else 0, step[1:]
        if kind == 3:
            socket.pass_time(int.from_bytes(data[:1], "big") / 4)
        else:
            socket.receive(data[:65_507], ADDRESSES[kind if kind else len(data) % 32 == 31])
    return Kept(socket.endpoint, ())


def _datagrams(recorded: RecordedSession) -> tuple[Steps, ...]:
    all_of_it = tuple(b"\x00" + step.datagram for step in recorded.steps if step.from_device)
    handshake = all_of_it[:8]
    return (
        all_of_it,
        handshake,
        (*handshake, *(b"\x01" + step[1:] for step in all_of_it[8:20]), b"\x03\xff"),
        (*(b"\x02" + step[1:] for step in handshake), *handshake, b"\x03\x08", b"\x03\x40"),
    )


def peer(steps: Steps) -> Kept:
    """A device that has a session and says anything in it: the first byte of a step is the type of its record."""
    network = connected((OLD_FIRMWARE, NEW_FIRMWARE)[len(steps[0]) % 2])
    device, socket = network.device.session, Socket(network.endpoint)
    socket.now = network.now
    assert device is not None
    for step in steps[1:]:
        if step[:1] == b"\x00":
            socket.pass_time(len(step))
        elif step and device.may_send:
            socket.receive(device.seal(step[1:16_000], step[0]), network.address)
    return Kept(socket.endpoint)


PEER_SEEDS: tuple[Steps, ...] = tuple(
    (
        bytes(firmware),
        *(b"\x17" + data for data in RECORDED[:6]),
        b"\x16\x14\x00\x00\x0c\x00\x03\x00\x00\x00\x00\x00\x0c" + bytes(12),
        b"\x15\x01\x5a",
        b"\x00",
        *ending,
    )
    for firmware in (0, 1)
    for ending in ((b"\x15\x01\x00",), (b"\x15\x02\x28", b"\x17more"))
)

MACHINES = (
    Target("particle-session", session, SESSION_SEEDS, held_bytes=SESSION_BYTES),
    Target("particle-sender", sender, SENDER_SEEDS, held_bytes=SENDER_BYTES),
    *(
        Target(
            f"dtls-endpoint-{name}",
            lambda steps, recorded=recorded: endpoint(recorded, steps),  # type: ignore[misc]
            _datagrams(recorded),
            held_bytes=ENDPOINT_BYTES,
        )
        for name, recorded in zip(("old", "new"), sessions(), strict=True)
    ),
    Target("dtls-peer", peer, PEER_SEEDS, held_bytes=ENDPOINT_BYTES),
)
