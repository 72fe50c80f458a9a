"""What MQTT does with states: sessions, provisioning, WebSocket. The first byte of a step says what happens, the others
with what."""

from __future__ import annotations

from itertools import count
from math import inf

from wsproto.frame_protocol import FrameProtocol, Opcode

from services.gateway.devices.calls import FunctionCall, Probe, Question, Signal, VariableRead
from services.gateway.devices.effects import Close
from services.gateway.devices.mqtt.effects import Effect
from services.gateway.devices.mqtt.packets import decode_connect
from services.gateway.devices.mqtt.reader import Frame, FrameReader
from services.gateway.devices.mqtt.violations import Violation
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.ids import digest
from tests.fuzz.codecs import ATTRIBUTES, PACKETS, PROVISIONING, TELEMETRY
from tests.fuzz.mutators import Steps
from tests.fuzz.rolling_out import rolled_out
from tests.fuzz.targets import Kept, Target
from tests.gateway.devices.conftest import DEVICE, ClientWire, Desk, FakeDirectory
from tests.gateway.devices.mqtt.test_provisioning import KEY, SECRET, Stranger
from tests.gateway.devices.mqtt.test_websocket import REQUEST, Stage

IMAGE = bytes(range(250)) * 40
CONTEXT = Context.new("device:x", "gateway:a")
SESSION_BYTES = 800_000
"""Of one session with its device's attributes and messages that wait, at the most hostile."""
PROVISIONING_BYTES = 200_000
WEBSOCKET_BYTES = 400_000

UP = [
    b"v1/devices/me/telemetry",
    b"v2/t",
    b"v1/devices/me/events/door",
    b"v1/devices/me/events/public/door",
    b"v1/devices/me/attributes",
    b"v2/a",
    b"v1/devices/me/attributes/request/1",
    b"v2/a/req/2",
    b"v1/devices/me/claim",
    b"v1/devices/me/rpc/request/1",
    b"v2/r/req/2",
    b"v1/devices/me/rpc/response/1",
    b"v2/r/res/2",
    b"v2/fw/request/1/chunk/0",
    b"v2/fw/request/2/chunk/7",
    b"v2/sw/request/1/chunk/0",
]
DOWN = ("v1/devices/me/attributes", "v1/devices/me/rpc/request/+", "v1/devices/me/attributes/response/+", "v2/a/res/+")
RAW, PACKET, PUBLISH, WAIT, NEWS, ASK, CONNECT, STORE, ACKNOWLEDGE = range(9)


class Line(Desk):
    """A session at the end of a stream of bytes, as a connection has it; all facts must keep their contracts."""

    def __init__(self) -> None:
        directory = FakeDirectory()
        directory.add(released_version=2)
        directory.put_image(2, IMAGE)
        super().__init__(directory)
        self.reader = FrameReader(self.limits.packet_bytes)
        self._questions = count(1)

    def open(self, packet: bytes) -> None:
        """Connect, unless somebody is."""
        reader = FrameReader(self.limits.connect_bytes)
        reader.feed(packet)
        try:
            frame = reader.take()
            if frame is None:
                return
            decode_connect(frame)
        except Violation:
            return
        if self.closed is None and self._numbers:
            self.replaced()
        self.connect(packet)
        self.reader.clear()

    def stream(self, data: bytes) -> None:
        """Bytes of the device."""
        at = 0
        while at < len(data) and self.closed is None:
            piece = data[at : at + self.reader.room]
            at += len(piece)
            self.reader.feed(piece)
            self._take_all()

    def _take_all(self) -> None:
        while self.closed is None:
            self._let_go()
            try:
                frame = self.reader.take()
            except Violation as violation:
                self._sort(self.session.broken(violation, b"", self.now))
                return
            if frame is None:
                return
            self._sort(self.session.receive(frame, self.now))

    def _let_go(self) -> None:
        """Wait for as long as nothing is to be taken from the device."""
        until = self.session.hold_until(self.seconds)
        while until is not None and self.closed is None:
            if until == inf:
                self.store()
            else:
                self.wait(until - self.seconds, held=True)
            until = self.session.hold_until(self.seconds)

    def step(self, step: bytes) -> None:
        """One thing that happens."""
        kind, data = step[0] % 9 if step else RAW, step[1:]
        if kind == CONNECT:
            return self.open(data)
        if self.closed is not None:
            return None
        match kind:
            case 0:
                self.stream(data)
            case 1:
                self.stream(ClientWire.packet(data[0], data[1:]) if data else b"")
            case 2:
                self._publish(data)
            case 3:
                self.wait(int.from_bytes(data[:2], "big") / 10, held=len(data) > 2)
            case 4:
                self._news(data)
            case 5:
                self.ask(self._question(data), next(self._questions))
            case 7:
                self.waits = bool(data)
                self.store()
            case 8:
                self._acknowledge(data)
        return None

    def _publish(self, data: bytes) -> None:
        first, how = (data[:2] + bytes(2))[:2]
        level, topic = self.session.level, UP[first % len(UP)].decode()
        self.stream(ClientWire.publish(topic, data[2:], how % 3, 1 + how, level))

    def _acknowledge(self, data: bytes) -> None:
        """A PUBACK for one of the last messages with QoS 1."""
        waiting = [packet for packet in self.sent[-40:] if packet[0] >> 4 == 3 and packet[0] & 6]
        for packet in waiting[-1 - len(data) :]:
            at = 1 + next(index for index in range(1, 5) if packet[index] < 0x80)
            end = at + 2 + int.from_bytes(packet[at : at + 2], "big")
            self.stream(ClientWire.packet(0x40, packet[end : end + 2]))

    def _news(self, data: bytes) -> None:
        change = data[0] % 4 if data else 0
        if change == 0 and len(data) > 3:
            self.directory.change(**rolled_out(data[1:]))
        elif change == 0:
            self.directory.change(released_version=None if len(data) > 1 else 2, releases=None)
        elif change == 1:
            self.directory.desire({"interval": len(data), "long": "x" * len(data)}, ["gone"])
        elif change == 2:
            self.directory.change(member={"product_id": 1000 if len(data) > 1 else None})
        elif len(data) > 4:
            del self.directory.devices[DEVICE]
            self.news()
            self.directory.add(released_version=2)
            return
        self.news()

    def _question(self, data: bytes) -> Question:
        text = data[1:].decode(errors="replace")
        questions: list[Question] = [
            FunctionCall("brew", text),
            FunctionCall(text, {"strength": 3}),
            VariableRead("temperature", fresh=True),
            VariableRead(text),
            Probe(),
            Signal(True),
        ]
        return questions[data[0] % len(questions) if data else 0]


def session(steps: Steps) -> Kept:
    """A session of a device that does anything."""
    line = Line()
    line.open(ClientWire.connect())
    for step in steps:
        line.step(step)
    if line.closed is None:
        line.lose()
    else:
        line.lose(line.closed.ending)
    for fact in (*line.facts, *line.published):
        CONTRACTS.encode(fact, 0, CONTEXT)
    return Kept((line.session, line.memory, line.reader), (line.directory, line.around, line.limits))


def _up(topic: bytes, payload: bytes, qos: int = 1) -> bytes:
    return bytes((PUBLISH, UP.index(topic), qos)) + payload


LISTENS = [bytes((RAW,)) + ClientWire.subscribe(topic, packet_id=1 + at) for at, topic in enumerate(DOWN)]
LISTENS_5 = [
    bytes((RAW,)) + ClientWire.subscribe(topic, packet_id=1 + at, level=5) for at, topic in enumerate((*DOWN, "#"))
]
REPORT = _up(b"v1/devices/me/telemetry", b'{"current_fw_title":"Brewer","current_fw_version":"1"}')
CHUNK = _up(b"v2/fw/request/1/chunk/0", b"4096", 0)
PAUSE, LONG = bytes((WAIT, 0, 30)), bytes((WAIT, 4, 0))
EMPTY_LISTS = b'{"a":[' + b",".join([b"[]"] * 21_000) + b"]}"
LATEST = [
    _up(b"v2/t", b"{" + b",".join(b'"k%d":[%s0]' % (key, b'{"":0},' * 140) for key in range(first, first + 32)) + b"}")
    for first in range(0, 128, 32)
]
"""What takes the most memory for its bytes."""
CHUNKS = ClientWire.publish("v2/fw/request/1/chunk/1", b"4096", 0)
FAST_5 = ClientWire.publish("v2/t", b'{"a":1}', 1, 9, 5)
TWICE = ClientWire.publish("v2/t", b'{"a":1}', 2, 9)
SESSION_SEEDS: tuple[Steps, ...] = (
    (*LISTENS, *(_up(b"v2/t", data) for data in TELEMETRY), *(_up(b"v2/a", data) for data in ATTRIBUTES[:1]), PAUSE),
    (REPORT, *LISTENS, PAUSE, CHUNK, _up(b"v2/fw/request/2/chunk/7", b"1000"), PAUSE, LONG, CHUNK),
    (bytes((CONNECT,)) + PACKETS[2], *LISTENS_5, bytes((NEWS, 1)), REPORT, CHUNK, PAUSE, *LISTENS_5),
    (*LISTENS, *(bytes((ASK, kind)) + b"temperature" for kind in range(6)), bytes((ACKNOWLEDGE, 1)), PAUSE),
    (*LISTENS, bytes((ASK, 0)) + b"42", _up(b"v1/devices/me/rpc/response/1", b'{"value":1}'), LONG),
    (*LISTENS, *(_up(topic, ATTRIBUTES[1]) for topic in UP[6:8]), _up(UP[8], ATTRIBUTES[2]), _up(UP[9], ATTRIBUTES[3])),
    (bytes((STORE, 1)), *(_up(UP[2], b"\xff\xfe", qos) for qos in (0, 1, 2)), bytes((STORE,)), bytes((NEWS, 2))),
    (*LISTENS, *(bytes((NEWS, change, 0)) for change in (1, 1, 0, 2, 1)), REPORT, *(bytes((NEWS, 3)) + bytes(9),)),
    *((bytes((RAW,)) + packet, bytes((WAIT, 0, 1))) for packet in PACKETS[3:]),
    *((bytes((CONNECT,)) + packet, REPORT, *LISTENS, PAUSE) for packet in PACKETS[:3]),
    tuple(bytes((RAW,)) + bytes((byte,)) for byte in PACKETS[3]),
)
HOSTILE_SEEDS: tuple[Steps, ...] = (
    (*LISTENS, _up(b"v2/a", EMPTY_LISTS), *(_up(b"v2/a/req/2", b"{}"),) * 60, *LATEST),
    (*LISTENS, bytes((RAW,)) + PACKETS[3] * 1_100, PAUSE, LONG, bytes((RAW,)) + CHUNKS * 300, LONG),
    (bytes((CONNECT,)) + PACKETS[2], *LISTENS_5, bytes((RAW,)) + FAST_5 * 700, PAUSE, LONG),
    (bytes((RAW,)) + TWICE * 3, bytes((RAW,)) + ClientWire.packet(0x62, b"\x00\x09"), bytes((STORE, 1)), *LISTENS),
)


def provisioning(steps: Steps) -> Kept:
    """A connection of somebody who wants to be provisioned; the first step says at which level."""
    directory = FakeDirectory()
    directory.access = {
        "provisioning": "create",
        "provisioning_key": KEY,
        "provisioning_secret_digest": digest(SECRET),
    }
    stranger = Stranger(ClientWire, directory, level=(4, 5)[len(steps[0]) % 2])
    reader = FrameReader(stranger.limits.packet_bytes)
    for step in steps[1:]:
        if stranger.closed is not None:
            break
        _provisioning_step(stranger, reader, step)
    return Kept((stranger.machine, reader), (directory, stranger.limits))


def _provisioning_step(stranger: Stranger, reader: FrameReader, step: bytes) -> None:
    kind, data = step[0] % 5 if step else 0, step[1:]
    machine = stranger.machine
    match kind:
        case 0 | 1:
            packet = data if kind == 0 else ClientWire.publish("/provision/request", data, 1, 7, machine.level)
            for frame in _frames(stranger, reader, packet):
                stranger.do(machine.receive(frame, stranger.now))
        case 2 if stranger.asked:
            stranger.do(machine.provisioned(data[:24].hex() or None, stranger.now))
        case 3:
            stranger.seconds += int.from_bytes(data[:1], "big")
            stranger.do(machine.tick(False, stranger.now))


def _frames(stranger: Stranger, reader: FrameReader, data: bytes) -> list[Frame]:
    found: list[Frame] = []
    reader.feed(data[: reader.room])
    try:
        while stranger.closed is None and (frame := reader.take()) is not None:
            found.append(frame)
    except Violation as violation:
        effects: list[Effect] = stranger.machine.broken(violation, b"", stranger.now)
        assert any(isinstance(effect, Close) for effect in effects)
        stranger.do(effects)
    return found if stranger.closed is None else []


ASKED = PROVISIONING[0].replace(b'"k"', f'"{KEY}"'.encode()).replace(b'"s"', f'"{SECRET}"'.encode())
PROVISIONING_SEEDS: tuple[Steps, ...] = tuple(
    (
        b"" if level == 4 else b"5",
        b"\x00" + ClientWire.subscribe("/provision/response", level=level),
        *(b"\x01" + data for data in (ASKED, *PROVISIONING)),
        b"\x02" + bytes(12),
        b"\x03\x09",
        b"\x00" + ClientWire.publish("/provision/request", ASKED, 0, 0, level),
        b"\x03\xff",
    )
    for level in (4, 5)
)


def websocket(steps: Steps) -> Kept:
    """MQTT over WebSocket with anybody; what is not read from a socket stays in the socket."""
    stage = Stage()
    if steps[0][:1] == b"\x01":
        stage.open()
    for step in steps:
        if stage.socket.closed:
            break
        _websocket_step(stage, step)
    stage.turns()
    return Kept(stage.web, (stage.inner, stage.counts, stage.socket, stage.soon))


def _websocket_step(stage: Stage, step: bytes) -> None:
    kind, data = step[0] % 6 if step else 0, step[1:]
    match kind:
        case 0 if stage.socket.reading:
            stage.web.data_received(data)
        case 1 if stage.socket.reading and data:
            opcodes = (Opcode.BINARY, Opcode.TEXT, Opcode.PING, Opcode.PONG, Opcode.CLOSE, Opcode.CONTINUATION)
            client = FrameProtocol(client=True, extensions=[])
            stage.web.data_received(
                bytes(
                    client._serialize_frame(opcodes[data[0] % 6], data[1 : 126 if data[0] % 6 in (2, 3, 4) else None])
                )
            )
        case 2:
            stage.turn()
        case 3:
            stage.web.pause_reading() if data else stage.web.resume_reading()
        case 4:
            stage.web.write(data)
        case 5:
            stage.turns()


def _framed(kind: int, data: bytes) -> bytes:
    client = FrameProtocol(client=True, extensions=[])
    return bytes(client._serialize_frame(OPCODES[kind], data[:125] if kind in (2, 3, 4) else data))


OPCODES = (Opcode.BINARY, Opcode.TEXT, Opcode.PING, Opcode.PONG, Opcode.CLOSE, Opcode.CONTINUATION)
OPENED = b"\x01\x00" + ClientWire.connect()
WEBSOCKET_SEEDS: tuple[Steps, ...] = (
    (b"\x00" + REQUEST, b"\x01\x00" + PACKETS[3], b"\x05"),
    (b"\x00" + REQUEST[:40], b"\x00" + REQUEST[40:], b"\x04hello", b"\x03a", b"\x01\x00" + PACKETS[4], b"\x03"),
    (OPENED, *(b"\x01\x00" + packet for packet in PACKETS[3:9]), b"\x02", b"\x01\x02ping", b"\x01\x03pong", b"\x05"),
    (OPENED, b"\x01\x04\x03\xe8bye", b"\x01\x01text"),
    (OPENED, b"\x00\x02\x83\x00\x00\x00\x00abc\x80\x82\x00\x00\x00\x00de", b"\x02", b"\x01\x05more"),
)

MACHINES = (
    Target("mqtt-session", session, SESSION_SEEDS, held_bytes=SESSION_BYTES),
    Target("mqtt-session-hostile", session, HOSTILE_SEEDS, held_bytes=SESSION_BYTES, tested=20),
    Target("mqtt-provisioning", provisioning, PROVISIONING_SEEDS, held_bytes=PROVISIONING_BYTES),
    Target("mqtt-websocket", websocket, WEBSOCKET_SEEDS, held_bytes=WEBSOCKET_BYTES),
)
